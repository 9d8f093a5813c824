//! One order for a certificate, from the account to the file; on a thread of its own, since servers
//! may take minutes and disks may hang.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::{
    client::{Asked, Wire},
    files::{Folder, certificate},
};
use crate::{
    control::clock,
    model::{
        Millis,
        acme::{Acme, Challenge, Wanted},
        tls::Certificate,
        units::ListenerName,
    },
    tls,
};

/// How long a whole order may take.
const ORDER: Duration = Duration::from_secs(600);
/// How long a server may take to look at proofs, and to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(180));
/// What Let's Encrypt's limits are counted in; for servers that do not say for how long.
const RATE_LIMITED: Millis = Millis::from_secs(3600);

/// What is ordered.
#[derive(Clone, Debug)]
pub struct Job {
    /// For which listener.
    pub listener: ListenerName,
    /// For what, and from whom.
    pub wanted: Wanted,
    /// Where it is kept.
    pub folder: Folder,
}

/// What proves that a name is lbd's.
#[derive(Debug)]
pub struct Proof {
    /// The name.
    pub name: String,
    /// What the server calls it.
    pub token: String,
    /// What to answer on port 80.
    pub answer: String,
    /// What to put into a certificate.
    pub digest: [u8; 32],
}

/// Proofs that are to be given; whoever gives them says when that is so.
pub type Prove = (Vec<Proof>, oneshot::Sender<()>);

/// What came of an order.
#[derive(Debug)]
pub struct Done {
    /// The certificate that was issued with its key, or why none was.
    pub result: Result<Arc<Certificate>, Failed>,
    /// What else an operator must know.
    pub remarks: Vec<String>,
}

/// An order that failed.
#[derive(Debug)]
pub struct Failed {
    /// Why, in the server's words where there are some.
    pub problem: String,
    /// For how long the server asks to be left alone.
    pub asked: Option<Millis>,
}

/// Orders a certificate; not to be called on a thread that serves.
pub fn order(job: &Job, prove: mpsc::Sender<Prove>) -> Done {
    let (asked, mut remarks) = (Asked::default(), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let ordering = carry_out(job, &asked, prove, &mut remarks);
            let late = |_| Trouble::Own("the order took too long".into());
            tokio::time::timeout(ORDER, ordering).await.map_err(late)?
        }),
        Err(error) => Err(Trouble::Own(error.to_string())),
    };
    Done { result: result.map_err(|trouble| trouble.failed(&asked)), remarks }
}

#[derive(Debug)]
enum Trouble {
    Server(Error),
    Own(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl Trouble {
    fn failed(self, asked: &Asked) -> Failed {
        let is_limit = self.is_of("rateLimited");
        let asked = asked.span().or_else(|| is_limit.then_some(RATE_LIMITED));
        let problem = match self {
            Self::Own(problem) => problem,
            Self::Server(Error::Api(problem)) => format!("the server says: {}", words(&problem)),
            Self::Server(error) => with_causes(&error),
        };
        Failed { problem, asked }
    }

    /// Whether the server said so (RFC 8555, section 6.7).
    fn is_of(&self, kind: &str) -> bool {
        let Self::Server(Error::Api(problem)) = self else { return false };
        let named = problem.r#type.as_deref().and_then(|name| name.rsplit(':').next());
        named == Some(kind)
    }
}

/// What a server says, without the library's words.
fn words(problem: &instant_acme::Problem) -> String {
    let text = problem.to_string();
    text.strip_prefix("API error: ").unwrap_or(&text).to_owned()
}

/// An error with what is behind it: that a connection failed says little.
fn with_causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

async fn carry_out(
    job: &Job,
    asked: &Asked,
    prove: mpsc::Sender<Prove>,
    remarks: &mut Vec<String>,
) -> Result<Arc<Certificate>, Trouble> {
    let account = account(job, asked, remarks).await?;
    let names = &job.wanted.names;
    let identifiers: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    authorize(&mut order, job.wanted.acme.challenge, prove).await?;
    let (key, request) = tls::request(names).map_err(Trouble::Own)?;
    order.finalize_csr(&request).await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    let pem = format!("{key}{chain}");
    let path = job.folder.certificate_path(&job.listener);
    let bad = |problem| Trouble::Own(format!("what the server signed {problem}"));
    let issued = certificate(&path, &pem).map_err(bad)?;
    if let Err(error) = job.folder.keep_certificate(&job.listener, &pem) {
        let lost = "it serves, but a restart would have to order another";
        remarks.push(format!("{} cannot be written: {error}; {lost}", path.display()));
    }
    Ok(Arc::new(issued))
}

/// The account at the server, made if there is none.
async fn account(job: &Job, asked: &Asked, remarks: &mut Vec<String>) -> Result<Account, Trouble> {
    let acme = &job.wanted.acme;
    let wire = || Wire::new(acme.ca.as_ref(), asked.clone(), clock::now).map_err(Trouble::Own);
    let kept = job.folder.account::<AccountCredentials>(clock::now());
    let kept = kept.unwrap_or_else(|damaged| {
        remarks.push(format!("{damaged}; a new account is made"));
        None
    });
    if let Some(credentials) = kept {
        let account = Account::builder_with_http(Box::new(wire()?));
        let account = account.from_credentials(credentials).await?;
        let contacts = contacts(acme);
        let contacts: Vec<_> = contacts.iter().map(String::as_str).collect();
        // It also tells whether the server still knows the account.
        match account.update_contacts(&contacts).await.map_err(Trouble::from) {
            Ok(()) => return Ok(account),
            Err(trouble) if trouble.is_of("accountDoesNotExist") => {
                let aside = job.folder.set_account_aside(clock::now());
                remarks.push(format!("{aside}; a new account is made"));
            }
            Err(trouble) => return Err(trouble),
        }
    }
    let contacts = contacts(acme);
    let contact: Vec<_> = contacts.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let binding = binding(acme)?;
    let builder = Account::builder_with_http(Box::new(wire()?));
    let made = builder.create(&new, acme.directory.to_string(), binding.as_ref()).await?;
    let (account, credentials) = made;
    if let Err(error) = job.folder.keep_account(&credentials) {
        remarks.push(format!("the account cannot be written: {error}"));
    }
    Ok(account)
}

fn contacts(acme: &Acme) -> Vec<String> {
    acme.email.iter().map(|address| format!("mailto:{address}")).collect()
}

fn binding(acme: &Acme) -> Result<Option<ExternalAccountKey>, Trouble> {
    let Some(binding) = &acme.eab else { return Ok(None) };
    let key = BASE64_URL_SAFE_NO_PAD.decode(&*binding.key.0);
    let key = key.map_err(|error| Trouble::Own(format!("acme.eab.key: {error}")))?;
    Ok(Some(ExternalAccountKey::new(binding.key_id.to_string(), &key)))
}

/// Proves all names that the server wants proved.
async fn authorize(
    order: &mut Order,
    challenge: Challenge,
    prove: mpsc::Sender<Prove>,
) -> Result<(), Trouble> {
    let kind = match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            other => {
                let name = authorization.identifier().to_string();
                return Err(Trouble::Own(format!("the proof for {name} is {other:?}")));
            }
        }
        let offered = authorization.challenge(kind.clone());
        let challenge =
            offered.ok_or_else(|| Trouble::Own(format!("the server offers no {kind:?}")))?;
        proofs.push(proof(&challenge));
    }
    if !proofs.is_empty() {
        let (given, is_given) = oneshot::channel();
        let gone = || Trouble::Own("lbd stops".into());
        prove.send((proofs, given)).await.map_err(|_| gone())?;
        is_given.await.map_err(|_| gone())?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Pending
                && let Some(mut challenge) = authorization.challenge(kind.clone())
            {
                challenge.set_ready().await?;
            }
        }
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(OrderStatus::Invalid) => {
            let silent = "the server does not believe the proof, and does not say why";
            Err(refusal(order).await.unwrap_or_else(|| Trouble::Own(silent.into())))
        }
        Err(Error::Api(problem)) => {
            Err(refusal(order).await.unwrap_or(Trouble::Server(problem.into())))
        }
        Ok(other) => Err(Trouble::Own(format!("the order is {other:?}"))),
        Err(error) => Err(error.into()),
    }
}

fn proof(challenge: &instant_acme::ChallengeHandle<'_>) -> Proof {
    let answer = challenge.key_authorization().as_str().to_owned();
    Proof {
        name: challenge.identifier().to_string(),
        token: challenge.token.clone(),
        digest: Sha256::digest(answer.as_bytes()).into(),
        answer,
    }
}

/// Which proofs the server did not believe, and why.
async fn refusal(order: &mut Order) -> Option<Trouble> {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else { continue };
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|c| c.error.as_ref());
        said.extend(errors.map(|error| format!("{name}: {}", words(error))));
    }
    let told = || Trouble::Own(format!("the server says of {}", said.join("; ")));
    (!said.is_empty()).then(told)
}
