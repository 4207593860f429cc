//! Who may come in: hosts, origins, TLS, passwords; and the pages.

use http::{Method, StatusCode};
use tradewatch_server::config::HttpClientConfig;
use tradewatch_server::config::file::{BasicAuth, TlsConfig};
use tradewatch_server::net::HttpClient;
use tradewatch_server::net::client::Ask;

use crate::support::*;

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let folder = Folder::new();
    let server = start(options(&folder, "")).await;
    let own = format!("http://{}", server.addr());
    let status = async |method: Method, path: &str, name: &'static str, value: &str| {
        ask(method, &url(&server, path), &[(name, value.to_owned())], "{\"text\":\"x\"}").await.status
    };
    let evil = "http://evil.example";
    assert_eq!(status(Method::GET, "/api/v1/alerts", "host", "evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(status(Method::GET, "/", "host", "localhost:1234").await, StatusCode::OK);
    assert_eq!(status(Method::POST, "/api/annotations", "origin", evil).await, StatusCode::FORBIDDEN);
    assert_eq!(status(Method::POST, "/-/reload", "origin", evil).await, StatusCode::FORBIDDEN);
    assert_eq!(
        status(Method::POST, "/api/v2/silences", "sec-fetch-site", "cross-site").await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(status(Method::POST, "/api/annotations", "origin", &own).await, StatusCode::OK);
    assert_eq!(status(Method::POST, "/api/annotations", "accept", "*/*").await, StatusCode::OK);
    server.shutdown().await;
}

#[tokio::test]
async fn tls_and_passwords_keep_others_out() {
    let folder = Folder::new();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()])
        .expect("a certificate");
    folder.write("cert.pem", &pair.cert.pem());
    folder.write("key.pem", &pair.signing_key.serialize_pem());
    let hash = bcrypt::hash("s3cret", 4).expect("hashes");
    let web = format!(
        "tls_server_config: {{cert_file: cert.pem, key_file: key.pem}}\nbasic_auth_users:\n  ada: {hash}\nhttp_server_config:\n  headers: {{X-Frame-Options: deny}}\n"
    );
    let mut options = options(&folder, "");
    options.web.config_file = Some(folder.write("web.yml", &web));
    options.listen = "0.0.0.0:0".parse().expect("an address");
    let server = start(options).await;
    let target = format!("https://localhost:{}/-/healthy", server.addr().port());
    let visit = async |password: Option<&str>, trust: bool| {
        let client = HttpClient::new(HttpClientConfig {
            basic_auth: password.map(|password| BasicAuth {
                username: "ada".into(),
                password: Some(password.to_owned().into()),
                ..BasicAuth::default()
            }),
            tls: trust.then(|| TlsConfig { ca_file: Some("cert.pem".into()), ..TlsConfig::default() }),
            folder: folder.path().to_owned(),
            ..HttpClientConfig::default()
        });
        let ask = Ask {
            method: Method::GET,
            url: &target,
            headers: &[],
            body: bytes::Bytes::new(),
            compression: false,
            body_bytes_max: 1 << 20,
            timeout: PATIENCE,
        };
        client.expect("a client").ask(ask).await.map(|answer| answer.status)
    };
    assert_eq!(visit(Some("s3cret"), true).await, Ok(StatusCode::OK));
    assert_eq!(visit(Some("s3cret"), true).await, Ok(StatusCode::OK), "the remembered login");
    assert_eq!(visit(Some("wrong"), true).await, Ok(StatusCode::UNAUTHORIZED));
    assert_eq!(visit(None, true).await, Ok(StatusCode::UNAUTHORIZED));
    assert!(visit(Some("s3cret"), false).await.is_err(), "a certificate that nobody vouches for");
    server.shutdown().await;
}

#[tokio::test]
async fn a_web_configuration_that_is_wrong_names_its_place() {
    let folder = Folder::new();
    for (text, part) in [
        ("basic_auth_users: {ada: hunter2}\n", "ada"),
        ("tls_server_config: {cert_file: nope.pem, key_file: nope.pem}\n", "nope.pem"),
        ("tls_server_config: {cert_file: a}\n", "key_file"),
        ("basic_auth_user: {}\n", "web.yml:1:1"),
    ] {
        let mut options = options(&folder, "");
        options.web.config_file = Some(folder.write("web.yml", text));
        let error = tradewatch_server::Server::start(options).await.err().expect(text).to_string();
        assert!(error.contains(part) && !error.contains("hunter2") && !error.contains('\n'), "{error}");
    }
}

/// The headers of an answer, without following where it leads.
async fn headers_of(server: &tradewatch_server::Server, path: &str) -> http::HeaderMap {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.addr()).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.addr());
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("reads");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let head = text.split("\r\n\r\n").next().unwrap_or("");
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    pairs
        .map(|(n, v)| (n.parse::<http::HeaderName>().expect("a name"), v.parse().expect("a value")))
        .collect()
}

#[tokio::test]
async fn pages_dashboards_and_runbooks_are_served() {
    let folder = Folder::new();
    let dashboards = folder.path().join("acme").join("dashboards");
    std::fs::create_dir_all(&dashboards).expect("creates");
    std::fs::write(dashboards.join("a.json"), "{\"uid\":\"over\",\"title\":\"Overview\",\"panels\":[]}")
        .expect("writes");
    folder.write("GatewayLost.md", "# Gateway lost\n");
    let mut options = options(&folder, "");
    options.dashboards = vec![tradewatch_server::dashboards::Folder::of(&dashboards)];
    options.runbooks = vec![folder.path().to_owned()];
    let server = start(options).await;
    let list = get_json(&server, "/api/tradewatch/v1/dashboards").await;
    assert_eq!(
        (&list[0]["uid"], &list[0]["platform"]),
        (&serde_json::json!("over"), &serde_json::json!("acme"))
    );
    assert_eq!(get_json(&server, "/api/tradewatch/v1/dashboards/over").await["title"], "Overview");
    assert_eq!(get(&server, "/api/tradewatch/v1/dashboards/none").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        get(&server, "/api/tradewatch/v1/runbooks/GatewayLost").await.body,
        "# Gateway lost\n".as_bytes()
    );
    for path in ["..%2fprometheus.yml", "prometheus.yml", "%2e%2e", ".hidden"] {
        let answer = get(&server, &format!("/api/tradewatch/v1/runbooks/{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let sessions =
        get_json(&server, "/api/tradewatch/v1/sessions?mic=XNYS&from=1774000000000&to=1774600000000").await;
    assert!(sessions.as_array().is_some_and(|all| all.len() >= 4), "{sessions}");
    let (from, to, day) = (1_774_000_000_000_i64, 1_774_600_000_000, 86_400_000);
    let path = format!("/api/tradewatch/v1/sessions?mic=CRYPTO&from={from}&to={to}");
    let endless = get_json(&server, &path).await;
    assert_eq!(
        endless,
        serde_json::json!([{"open_ms": from - day, "close_ms": to + day, "special": false}]),
        "one that never closes"
    );
    let none = get_json(&server, &format!("/api/tradewatch/v1/sessions?mic=NOPE&from={from}&to={to}")).await;
    assert_eq!(none, serde_json::json!([]), "a venue that nobody knows");
    let page = get(&server, "/desk").await;
    assert_eq!((page.status, page.content_type.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
    let script = get(&server, "/app.js").await;
    assert_eq!(
        (script.status, script.content_type.as_str()),
        (StatusCode::OK, "text/javascript; charset=utf-8")
    );
    let client = headers_of(&server, "/app.js").await;
    let (etag, policy) =
        (client["etag"].clone(), client["content-security-policy"].to_str().expect("text").to_owned());
    assert!(policy.contains("script-src 'self';"), "{policy}");
    let known = ask(
        Method::GET,
        &url(&server, "/app.js"),
        &[("if-none-match", etag.to_str().expect("text").to_owned())],
        "",
    )
    .await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let moved = headers_of(&server, "/graph?g0.expr=up+%3D%3D+0&g0.tab=1").await;
    assert_eq!(moved["location"], "/explore?expr=up+%3D%3D+0");
    assert_eq!(get(&server, "/missing.js").await.status, StatusCode::NOT_FOUND);
    server.shutdown().await;
}
