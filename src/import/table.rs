//! What is to be said of directives that are not carried over.

/// Why lbd does without a directive; `None` if it does not.
pub fn unneeded(name: &str) -> Option<&'static str> {
    let found = UNNEEDED.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, why)| *why).or_else(|| {
        let prefixed = UNNEEDED_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
        prefixed.map(|(_, why)| *why)
    })
}

/// Why a directive is not in the new file; `None` if nothing is known about it.
pub fn reason(name: &str) -> Option<&'static str> {
    let found = REASONS.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, why)| *why).or_else(|| {
        let prefixed = REASON_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
        prefixed.map(|(_, why)| *why)
    })
}

/// What is said where nothing is known.
pub const UNKNOWN: &str = "lbd has nothing like it, or not in this place";
/// What is said of what is inside a block that is not in the new file.
pub const INSIDE: &str = "the block around it is not carried over";

/// Names with the reason that they share.
type Row = (&'static [&'static str], &'static str);

const UNNEEDED: &[Row] = &[
    (
        &["worker_processes", "worker_cpu_affinity", "worker_priority", "thread_pool"],
        "lbd has one worker for each core; runtime.workers says otherwise",
    ),
    (
        &["events", "worker_connections", "use", "multi_accept", "accept_mutex"],
        "runtime.max_connections has a default that is large enough",
    ),
    (&["worker_rlimit_nofile"], "lbd raises its own limit of open files"),
    (&["user"], "systemd/lbd.service says which user lbd runs as"),
    (&["pid", "daemon", "master_process", "lock_file", "env"], "systemd supervises lbd"),
    (&["load_module", "pcre_jit", "timer_resolution"], "lbd has no modules"),
    (&["error_log"], "lbd logs to standard error, which is the system's journal"),
    (
        &["sendfile", "sendfile_max_chunk", "tcp_nopush", "tcp_nodelay", "aio", "directio"],
        "lbd sends as the system does best",
    ),
    (
        &["types", "default_type", "types_hash_max_size", "types_hash_bucket_size", "charset"],
        "content types are for the application to say",
    ),
    (
        &["server_names_hash_bucket_size", "server_names_hash_max_size", "server_name_in_redirect"],
        "lbd's table of hosts grows by itself",
    ),
    (
        &["map_hash_bucket_size", "map_hash_max_size", "variables_hash_max_size"],
        "lbd's tables grow by themselves",
    ),
    (&["server_tokens"], "lbd does not tell its release"),
    (&["log_format"], "lbd has two formats of its own: json and combined"),
    (
        &["log_not_found", "log_subrequest", "open_log_file_cache"],
        "lbd's log has one line a request",
    ),
    (&["resolver", "resolver_timeout"], "lbd asks the system's resolver, again and again"),
    (
        &["reset_timedout_connection", "lingering_close", "lingering_time", "lingering_timeout"],
        "lbd closes connections in the way that loses nothing",
    ),
    (
        &["keepalive_requests", "keepalive_time", "keepalive_disable"],
        "connections have no such end",
    ),
    (&["merge_slashes", "absolute_redirect", "port_in_redirect"], "lbd leaves paths as they are"),
    (&["underscores_in_headers", "ignore_invalid_headers"], "lbd is strict about heads"),
    (
        &["client_header_buffer_size", "client_body_buffer_size", "client_body_temp_path"],
        "lbd streams bodies and needs no files",
    ),
    (&["client_body_in_file_only", "client_body_in_single_buffer"], "lbd streams bodies"),
    (&["zone", "keepalive"], "connections to endpoints are kept without being told"),
    (
        &["gzip_comp_level", "gzip_vary", "gzip_proxied", "gzip_buffers", "gzip_http_version"],
        "lbd chooses it, and says Vary",
    ),
    (&["gzip_disable", "gzip_window", "gzip_hash", "gzip_static", "gunzip"], "lbd chooses it"),
    (&["brotli_comp_level", "brotli_static", "brotli_window"], "lbd chooses it"),
    (
        &[
            "ssl_ciphers",
            "ssl_prefer_server_ciphers",
            "ssl_dhparam",
            "ssl_ecdh_curve",
            "ssl_conf_command",
            "ssl_buffer_size",
            "ssl_early_data",
        ],
        "lbd only has safe ones",
    ),
    (
        &[
            "ssl_session_cache",
            "ssl_session_timeout",
            "ssl_session_tickets",
            "ssl_session_ticket_key",
            "ssl_trusted_certificate",
            "ssl_stapling",
            "ssl_stapling_verify",
            "ssl_stapling_file",
        ],
        "lbd keeps sessions and staples by itself",
    ),
    (
        &["http2_max_concurrent_streams", "http2_recv_timeout", "http2_idle_timeout"],
        "lbd's own limits stop attacks by HTTP/2",
    ),
    (
        &[
            "proxy_http_version",
            "proxy_buffering",
            "proxy_buffer_size",
            "proxy_buffers",
            "proxy_busy_buffers_size",
            "proxy_request_buffering",
            "proxy_temp_path",
            "proxy_max_temp_file_size",
            "proxy_temp_file_write_size",
            "proxy_socket_keepalive",
            "proxy_headers_hash_max_size",
            "proxy_headers_hash_bucket_size",
            "proxy_ignore_client_abort",
            "proxy_pass_request_headers",
            "proxy_pass_request_body",
            "proxy_pass_header",
            "proxy_ssl_server_name",
            "proxy_ssl_session_reuse",
            "proxy_ssl_protocols",
            "proxy_ssl_ciphers",
        ],
        "lbd speaks HTTP/1.1 with endpoints and streams both ways",
    ),
    (&["real_ip_recursive"], "lbd always looks past trusted proxies"),
    (&["stub_status"], "`lbctl status`, and /metrics on admin.http"),
    (&["limit_req_status", "limit_conn_status"], "lbd answers 429 with Retry-After"),
    (&["limit_req_log_level", "limit_conn_log_level"], "lbd counts and logs refusals"),
    (&["limit_req_zone", "limit_conn_zone"], "no limit uses it"),
    (&["upstream", "map", "split_clients", "geo"], "nothing that was carried over uses it"),
    (&["index"], "lbd serves no files"),
];

const UNNEEDED_PREFIXES: &[(&str, &str)] =
    &[("open_file_cache", "lbd serves no files"), ("quic_", "lbd does not speak HTTP/3")];

const REASONS: &[Row] = &[
    (
        &["root", "alias", "try_files", "autoindex", "expires", "etag", "internal"],
        "lbd serves no files; let an application or a file server behind it do so",
    ),
    (&["if"], "lbd has no conditions"),
    (&["stream", "mail"], "lbd only proxies HTTP"),
    (&["proxy_send_timeout"], "lbd has no such limit; timeouts.first_byte and total stand for it"),
    (&["proxy_redirect", "proxy_cookie_domain", "proxy_cookie_path", "proxy_cookie_flags"], {
        "lbd does not rewrite Location and Set-Cookie; the application has X-Forwarded-Host, -Proto"
    }),
    (&["proxy_intercept_errors"], "lbd's error pages are for its own answers only"),
    (&["auth_request", "auth_request_set", "auth_jwt", "satisfy"], "lbd does not ask for leave"),
    (
        &[
            "client_header_timeout",
            "client_body_timeout",
            "keepalive_timeout",
            "send_timeout",
            "large_client_header_buffers",
            "set_real_ip_from",
            "real_ip_header",
            "limit_conn",
        ],
        "lbd has one for each listener: that of the default server of its address",
    ),
    (
        &["ssl_certificate", "ssl_certificate_key", "ssl_protocols", "ssl_client_certificate"],
        "no listener of this server has TLS",
    ),
    (
        &[
            "gzip",
            "gzip_types",
            "gzip_min_length",
            "access_log",
            "client_max_body_size",
            "proxy_set_header",
            "add_header",
            "proxy_hide_header",
            "proxy_connect_timeout",
            "proxy_read_timeout",
            "limit_req",
            "auth_basic",
            "auth_basic_user_file",
            "error_page",
            "proxy_pass",
        ],
        "no place that is carried over uses it",
    ),
    (&["location"], "its requests go where those of the path above it go"),
    (&["limit_rate", "limit_rate_after"], "lbd does not slow answers down"),
    (&["mirror", "mirror_request_body"], "lbd does not copy requests"),
    (&["sub_filter", "sub_filter_once", "sub_filter_types"], "lbd does not change bodies"),
    (&["ssi", "perl", "geoip_country", "xslt_stylesheet"], "lbd runs no code"),
    (&["set", "map", "geo"], "lbd has no variables"),
    (&["return"], "lbd gives no answers of its own but redirects and refusals"),
];

const REASON_PREFIXES: &[(&str, &str)] = &[
    ("fastcgi_", "lbd speaks HTTP with endpoints; put an HTTP server before the application"),
    ("uwsgi_", "lbd speaks HTTP with endpoints; let uWSGI listen with --http-socket"),
    ("scgi_", "lbd speaks HTTP with endpoints"),
    ("memcached_", "lbd speaks HTTP with endpoints"),
    ("proxy_cache", "lbd does not cache"),
    ("proxy_no_cache", "lbd does not cache"),
    ("proxy_store", "lbd does not cache"),
    ("geoip", "lbd does not know countries"),
    ("js_", "lbd runs no code"),
    ("perl_", "lbd runs no code"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_have_reasons_and_no_name_has_two() {
        assert!(unneeded("sendfile").is_some() && unneeded("open_file_cache_valid").is_some());
        assert!(unneeded("proxy_cache").is_none() && reason("proxy_cache_path").is_some());
        for rows in [UNNEEDED, REASONS] {
            let mut names: Vec<_> = rows.iter().flat_map(|(names, _)| names.iter()).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }
}
