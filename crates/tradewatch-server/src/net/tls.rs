//! TLS on both sides, always with `ring` named as provider.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::config::file::TlsConfig;
use crate::error::Error;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let path = folder.join(name);
    std::fs::read(&path).map_err(|error| Error::config(format!("{}: {error}", path.display())))
}

/// The certificates of a PEM text.
fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Error::config(format!("{place}: there is no certificate in it; PEM is expected"))),
        Err(error) => Err(Error::config(format!("{place}: {error}"))),
    }
}

fn key(pem: &[u8], place: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| Error::config(format!("{place}: no private key: {error}")))
}

/// How we verify a peer and what we show it.
///
/// # Errors
/// A file that is missing or is not what it should be, with its name.
pub fn client(config: Option<&TlsConfig>, folder: &Path) -> Result<ClientConfig, Error> {
    let nothing = TlsConfig::default();
    let config = config.unwrap_or(&nothing);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS: {error}")))?;
    let builder = if config.insecure_skip_verify.unwrap_or(false) {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnything(
            provider().signature_verification_algorithms,
        )))
    } else {
        let mut roots = RootCertStore::empty();
        let given = match (&config.ca, &config.ca_file) {
            (Some(text), _) => Some((text.clone().into_bytes(), "tls_config.ca".to_owned())),
            (None, Some(name)) => Some((read(folder, name)?, name.clone())),
            (None, None) => None,
        };
        match given {
            Some((pem, place)) => {
                for certificate in certificates(&pem, &place)? {
                    roots.add(certificate).map_err(|error| Error::config(format!("{place}: {error}")))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        builder.with_root_certificates(roots)
    };
    let own = match (&config.cert, &config.cert_file) {
        (Some(text), _) => Some(certificates(text.as_bytes(), "tls_config.cert")?),
        (None, Some(name)) => Some(certificates(&read(folder, name)?, name)?),
        (None, None) => None,
    };
    let Some(own) = own else { return Ok(builder.with_no_client_auth()) };
    let key = match (&config.key, &config.key_file) {
        (Some(text), _) => key(text.expose().as_bytes(), "tls_config.key")?,
        (None, Some(name)) => key(&read(folder, name)?, name)?,
        (None, None) => return Err(Error::config("tls_config: cert without key")),
    };
    builder.with_client_auth_cert(own, key).map_err(|error| Error::config(format!("tls_config: {error}")))
}

/// Our certificate and, if asked for, whose certificates clients must show.
///
/// # Errors
/// A file that is missing or is not what it should be, with its name.
pub fn server(
    folder: &Path,
    cert_file: &str,
    key_file: &str,
    client_ca_file: Option<&str>,
    require: bool,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS: {error}")))?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&read(folder, name)?, name)? {
                roots.add(certificate).map_err(|error| Error::config(format!("{name}: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = if require { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(
                verifier.build().map_err(|error| Error::config(format!("{name}: {error}")))?,
            )
        }
    };
    let own = certificates(&read(folder, cert_file)?, cert_file)?;
    let key = key(&read(folder, key_file)?, key_file)?;
    let mut config =
        builder.with_single_cert(own, key).map_err(|error| Error::config(format!("{cert_file}: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// `insecure_skip_verify`: the name and the chain are not looked at, the signatures still are.
#[derive(Debug)]
struct TrustAnything(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
