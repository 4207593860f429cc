//! Mail by SMTP: RFC 5321 for the conversation and its codes, RFC 3207 for STARTTLS, RFC 8314 for TLS from the
//! first byte, RFC 5322 for the message.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::{Address, Envelope};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, Identity, Tls, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{AsyncSmtpTransport, Error as SmtpError};
use lettre::{AsyncTransport, Tokio1Executor};
use sha2::{Digest, Sha256};
use tradewatch_alert::notify::Failure;
use tradewatch_alert::route::{Email, EmailTls, TlsConfig};
use tradewatch_alert::template::notice::{Escape, escape_html};

use super::send::{Job, shorten};
use super::{final_failure, passing};

/// Receivers of one mail.
const RECIPIENTS_MAX: usize = 100;
/// Notifications whose accepted receivers are remembered between attempts.
const PARTIAL_MAX: usize = 1_000;
/// Refusals that are about us and not about the mail: a password that changed, TLS that is missing.
const ABOUT_US: [&str; 5] = ["454", "530", "534", "535", "538"];

/// Who has accepted a notification that others have not yet; by its key.
pub type Partial = Mutex<BTreeMap<String, BTreeSet<String>>>;

/// Sends once. Where a relay refuses one of several receivers, the others get the mail all the same.
pub(super) async fn send(job: &Job<'_>, email: &Email, partial: &Partial) -> Result<String, Failure> {
    let transport = transport(job, email).await?;
    let (message, envelope) = compose(job, email)?;
    let everyone = deliver(&transport, &envelope, &message, job.timeout).await;
    let several = envelope.to().len() > 1;
    match everyone {
        Err(failure) if several && failure.reason.starts_with(char::is_numeric) => {
            one_by_one(job, &transport, &envelope, &message, partial).await
        }
        other => other,
    }
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

async fn one_by_one(
    job: &Job<'_>,
    transport: &Transport,
    envelope: &Envelope,
    message: &[u8],
    partial: &Partial,
) -> Result<String, Failure> {
    let key = &job.delivery.key;
    let lock = || partial.lock().unwrap_or_else(|broken| broken.into_inner());
    let mut accepted = lock().remove(key).unwrap_or_default();
    let (mut refused, mut later) = (Vec::new(), Vec::new());
    for address in envelope.to() {
        if accepted.contains(address.as_ref() as &str) {
            continue;
        }
        let one = Envelope::new(envelope.from().cloned(), vec![address.clone()])
            .map_err(|error| final_failure(error.to_string()))?;
        match deliver(transport, &one, message, job.timeout).await {
            Ok(_) => drop(accepted.insert(address.to_string())),
            Err(failure) if failure.retriable => later.push(format!("{address}: {}", failure.reason)),
            Err(failure) => refused.push(format!("{address}: {}", failure.reason)),
        }
    }
    if !later.is_empty() {
        let mut kept = lock();
        if kept.len() < PARTIAL_MAX {
            kept.insert(key.clone(), accepted);
        }
        return Err(passing(shorten(&later.join("; "), 400)));
    }
    let refused = refused.join("; ");
    if accepted.is_empty() {
        return Err(final_failure(shorten(&refused, 400)));
    }
    tracing::error!(receiver = %job.delivery.receiver, "the relay refuses receivers: {refused}");
    Ok(format!("accepted for {} of {}; refused: {refused}", accepted.len(), envelope.to().len()))
}

async fn deliver(
    transport: &Transport,
    envelope: &Envelope,
    message: &[u8],
    timeout: Duration,
) -> Result<String, Failure> {
    let sent = tokio::time::timeout(timeout, transport.send_raw(envelope, message)).await;
    match sent {
        Err(_) => Err(passing(format!("no answer within {timeout:?} (timeout)"))),
        Ok(Err(error)) => Err(judge(&error)),
        Ok(Ok(response)) => {
            let said: Vec<&str> = response.message().collect();
            Ok(shorten(&format!("{} {}", response.code(), said.join(" ")), 200))
        }
    }
}

/// 4xx may pass, 5xx is final unless it is about us; so may everything that is not an answer.
fn judge(error: &SmtpError) -> Failure {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = inner.source();
    }
    let Some(code) = error.status() else { return passing(shorten(&said, 300)) };
    let code = code.to_string();
    let reason = shorten(&format!("{code} {said}"), 300);
    match error.is_permanent() && !ABOUT_US.contains(&code.as_str()) {
        true => final_failure(reason),
        false => passing(reason),
    }
}

async fn transport(job: &Job<'_>, email: &Email) -> Result<Transport, Failure> {
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&email.host)
        .port(email.port)
        .timeout(Some(job.timeout));
    if !email.hello.is_empty() {
        builder = builder.hello_name(ClientId::Domain(email.hello.clone()));
    }
    builder = match email.security {
        EmailTls::Plain => builder.tls(Tls::None),
        EmailTls::StartTls => builder.tls(Tls::Required(tls(email, job.secrets.folder()).map_err(passing)?)),
        EmailTls::Implicit => builder.tls(Tls::Wrapper(tls(email, job.secrets.folder()).map_err(passing)?)),
    };
    if let Some(password) = email.password.as_ref().filter(|_| !email.user.is_empty()) {
        let local = email.host == "localhost"
            || email.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if email.security == EmailTls::Plain && !local {
            return Err(passing("a password is not sent without TLS: write require_tls: true"));
        }
        let password = job.secrets.get(password).await?;
        builder = builder
            .credentials(Credentials::new(email.user.clone(), password))
            .authentication(vec![Mechanism::Plain, Mechanism::Login]);
    }
    Ok(builder.build())
}

/// What the relay is trusted by.
///
/// # Errors
/// A file that is missing or is no certificate.
pub fn tls(email: &Email, folder: &Path) -> Result<TlsParameters, String> {
    let config: &TlsConfig = &email.tls;
    let read = |inline: &Option<String>, file: &Option<String>| match (inline, file) {
        (Some(text), _) => Ok(Some(text.clone().into_bytes())),
        (None, Some(file)) => {
            let path = folder.join(file);
            let found = std::fs::read(&path);
            found.map(Some).map_err(|e| format!("{}: {}", path.display(), super::plain_io(&e)))
        }
        (None, None) => Ok(None),
    };
    let name = config.server_name.clone().unwrap_or_else(|| email.host.clone());
    let mut builder: TlsParametersBuilder = TlsParameters::builder(name);
    if let Some(pem) = read(&config.ca, &config.ca_file)? {
        let found = Certificate::from_pem(&pem).map_err(|error| format!("tls_config: ca: {error}"))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(found);
    }
    let key = config.key.as_ref().map(|key| key.0.clone());
    if let (Some(cert), Some(key)) = (read(&config.cert, &config.cert_file)?, read(&key, &config.key_file)?) {
        let found = Identity::from_pem(&cert, &key).map_err(|error| format!("tls_config: cert: {error}"))?;
        builder = builder.identify_with(found);
    }
    let any = config.insecure_skip_verify;
    let builder = builder.dangerous_accept_invalid_certs(any).dangerous_accept_invalid_hostnames(any);
    builder.build().map_err(|error| format!("tls_config: {error}"))
}

/// The message's bytes and who gets it.
fn compose(job: &Job<'_>, email: &Email) -> Result<(Vec<u8>, Envelope), Failure> {
    let address = |name: &str| -> Result<Mailboxes, Failure> {
        let text = job.text(&email.texts, name);
        text.trim()
            .trim_matches(',')
            .parse()
            .map_err(|_| final_failure(format!("{name}: {text:?} is no address")))
    };
    let (to, from) = (address("to")?, address("from")?);
    let from: Mailbox = from.into_single().ok_or_else(|| final_failure("from is not one address"))?;
    let recipients: Vec<Address> = to.iter().map(|mailbox| mailbox.email.clone()).collect();
    if recipients.len() > RECIPIENTS_MAX {
        return Err(final_failure(format!("more than {RECIPIENTS_MAX} receivers in one mail")));
    }
    let domain = from.email.domain().to_owned();
    let envelope = Envelope::new(Some(from.email.clone()), recipients)
        .map_err(|error| final_failure(error.to_string()))?;
    let millis = u64::try_from(job.now.as_millis()).unwrap_or(0);
    let mut builder = Message::builder()
        .envelope(envelope.clone())
        .from(from)
        .message_id(Some(format!("<{}@{domain}>", job.delivery.key)))
        .date(UNIX_EPOCH + Duration::from_millis(millis));
    for mailbox in to {
        builder = builder.to(mailbox);
    }
    let mut headers = vec![("X-Tradewatch-Attempt".to_owned(), job.delivery.attempt.to_string())];
    if let Some(by) = &email.threading {
        let day = if by == "daily" { job.now.to_string().chars().take(10).collect() } else { String::new() };
        let thread = Sha256::digest(format!("{}{day}", job.delivery.message.group_key));
        let thread: String = thread.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        headers.push(("References".to_owned(), format!("<{thread}@{domain}>")));
        headers.push(("In-Reply-To".to_owned(), format!("<{thread}@{domain}>")));
    }
    for (name, _) in email.headers.iter() {
        let fallback = if name.eq_ignore_ascii_case("subject") { job.headline() } else { String::new() };
        headers.push((name.to_owned(), job.text_or(&email.headers, name, &fallback)));
    }
    for (name, value) in headers {
        // A line break would begin another header.
        let value = value.replace(['\r', '\n'], " ").trim().to_owned();
        let found = HeaderName::new_from_ascii(name.clone())
            .map_err(|_| final_failure(format!("headers: {name:?} is not the name of a header")))?;
        builder = builder.raw_header(HeaderValue::new(found, value));
    }
    let text = job.text_or(&email.texts, "text", job.phone);
    let plain = format!("<pre>{}</pre>", escape_html(job.phone));
    let html = job.expand(&email.texts, "html", Escape::Html, &plain);
    let built = match (text.is_empty(), html.is_empty()) {
        (false, false) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        (true, false) => builder.singlepart(SinglePart::html(html)),
        _ => builder.singlepart(SinglePart::plain(text)),
    };
    let message = built.map_err(|error| final_failure(error.to_string()))?;
    Ok((message.formatted(), envelope))
}
