//! `pause` and `resume` of traffic.

use crate::model::{
    Commit, Millis, Model, Moment, Order, Refusal, ServiceName, Step, state::Pause,
};

/// How long requests may be held at most.
const LONGEST: Millis = Millis::from_secs(300);

impl Model {
    /// Holds new requests, each for `span` at most, until somebody lets them go on. A second time it
    /// begins anew.
    pub(in crate::model) fn pause(
        &self,
        now: Moment,
        order: &Order,
        services: &[ServiceName],
        span: Millis,
    ) -> Result<Step, Refusal> {
        if span == Millis(0) || span > LONGEST {
            return Err(Refusal::Senseless {
                problem: format!("requests cannot be held for {span}"),
                hint: "give --max a span of up to 5m; `lbctl maintenance on` is for longer",
            });
        }
        let pause = Some(Pause { since: now, max: span });
        let text = format!("new requests are held, each for {span} at most, until `lbctl resume`");
        self.set_pause(now, order, services, pause, text)
    }

    /// Lets held requests go on.
    pub(in crate::model) fn unpause(
        &self,
        now: Moment,
        order: &Order,
        services: &[ServiceName],
    ) -> Result<Step, Refusal> {
        self.set_pause(now, order, services, None, "held requests go on".into())
    }

    fn set_pause(
        &self,
        now: Moment,
        order: &Order,
        services: &[ServiceName],
        pause: Option<Pause>,
        text: String,
    ) -> Result<Step, Refusal> {
        let mut state = self.state.clone();
        for name in self.named_or_all(services)? {
            if self.state.services.get(&name).is_some_and(|s| s.pause != pause)
                && let Some(service) = state.service_mut(&name)
            {
                service.pause = pause;
            }
        }
        let text = if state == self.state { "nothing is paused".to_owned() } else { text };
        let step = self.step(now, state, &order.actor, order.reason.clone());
        Ok(step.described("pause", text, Commit::LiveFirst))
    }
}
