//! What gateways ask over HTTP, as data, and what they are answered.

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode};
use caed_core::refusal::HttpRefusal;

use super::*;
use crate::fixture::{self, claims, token};

const GATEWAY: Rights = Rights::of(&[Right::Decide]);

/// A path, headers, the status, and the address that counted.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], u16, &'r str);

async fn answered(parts: &Parts, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap) {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).expect("a request");
    request.extensions_mut().insert(GATEWAY);
    let response = asked(State(Arc::new(parts.clone())), request).await;
    (response.status().as_u16(), response.headers().clone())
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().expect("text")).unwrap_or_default();
    assert!(values.next().is_none(), "{name} stands once");
    value
}

#[tokio::test]
async fn every_gateway_is_answered_in_its_dialect() {
    let parts = fixture::parts();
    let bearer = |user: &str| format!("Bearer {}", token(&claims(user)));
    let (anna, gone) = (bearer("anna"), bearer("gone"));
    let (anna, gone) = (("authorization", anna.as_str()), ("authorization", gone.as_str()));
    let forged = ("x-forwarded-for", "198.51.100.1");
    let rows: &[Row<'_>] = &[
        ("/forward-auth/nginx", &[anna], 200, "unknown"),
        ("/forward-auth/nginx", &[anna, forged], 200, "unknown"),
        ("/forward-auth/nginx/peer=203.0.113.9", &[anna, forged], 200, "203.0.113.9"),
        ("/forward-auth/nginx/peer=2001:db8::9", &[anna, forged], 200, "2001:db8::9"),
        (
            "/forward-auth/nginx/peer=10.0.0.1",
            &[anna, ("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/nginx?peer=203.0.113.9", &[anna], 200, "unknown"),
        (
            "/forward-auth/nginx/peer=203.0.113.9/profile=exchange/tenant=contoso/audience=api%3A%2F%2Ffiles",
            &[anna],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/nginx/audience=api%3A%2F%2Fmail", &[anna], 401, ""),
        ("/forward-auth/nginx/audience=api://files/tenant=contoso", &[anna], 200, "unknown"),
        ("/forward-auth/nginx/audience=api://mail/tenant=contoso", &[anna], 401, ""),
        // To the letter: neither is the same without its end.
        ("/forward-auth/nginx/audience=api://files/", &[anna], 401, ""),
        ("/forward-auth/nginx/audience=api:", &[anna], 401, ""),
        ("/forward-auth/nginx/audience", &[anna], 403, ""),
        ("/forward-auth/nginx//", &[anna], 200, "unknown"),
        ("/forward-auth/nginx", &[gone], 401, ""),
        ("/forward-auth/nginx", &[], 401, ""),
        ("/forward-auth/caddy", &[anna, ("x-forwarded-for", "203.0.113.9")], 200, "203.0.113.9"),
        ("/forward-auth/caddy", &[anna], 200, "unknown"),
        ("/forward-auth/caddy", &[gone, ("x-forwarded-for", "203.0.113.9")], 401, ""),
        // Caddy passes on the client's query.
        ("/forward-auth/caddy/tenant=fabrikam?tenant=contoso", &[anna], 401, ""),
        ("/forward-auth/caddy?tenant=fabrikam&profile=none", &[anna], 200, "unknown"),
        ("/forward-auth/caddy/peer=203.0.113.9", &[anna], 403, ""),
        (
            "/forward-auth/traefik",
            &[anna, ("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        (
            "/forward-auth/traefik",
            &[anna, ("x-forwarded-for", "198.51.100.1, 203.0.113.9, 10.0.0.1")],
            200,
            "203.0.113.9",
        ),
        (
            "/forward-auth/traefik",
            &[anna, forged, ("x-forwarded-for", "203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/traefik/profil=exchange", &[anna], 403, ""),
        ("/forward-auth/traefik/profile=exchagne", &[anna], 403, ""),
        ("/forward-auth/traefik/tenant=contoso/tenant=fabrikam", &[anna], 403, ""),
        ("/forward-auth/traefik/tenant=", &[anna], 403, ""),
        (
            "/forward-auth/envoy/tenant=fabrikam/x",
            &[anna, ("x-caed-peer", "203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/envoy", &[anna, forged], 200, "unknown"),
        (
            "/forward-auth/envoy/",
            &[anna, ("x-caed-peer", "10.0.0.1"), ("x-caed-forwarded-for", "203.0.113.9"), forged],
            200,
            "203.0.113.9",
        ),
        (
            "/forward-auth/envoy/",
            &[anna, ("x-caed-peer", "10.0.0.1"), ("x-caed-peer", "203.0.113.9")],
            403,
            "",
        ),
        ("/forward-auth/envoy/", &[anna, ("x-caed-tenant", "fabrikam")], 401, ""),
        ("/forward-auth/envoy/", &[anna, ("x-caed-profile", "exchagne")], 403, ""),
        ("/forward-auth/envoy/", &[gone], 401, ""),
        ("/forward-auth/", &[anna], 403, ""),
        ("/forward-auth/apache", &[anna], 403, ""),
        ("/forward-auth/nginxx", &[anna], 403, ""),
        ("/forward-auth", &[anna], 403, ""),
        ("/nginx", &[anna], 403, ""),
        ("/", &[anna], 403, ""),
    ];
    for (path, headers, status, address) in rows {
        let (found, answer) = answered(&parts, path, headers).await;
        assert_eq!(found, *status, "{path} {headers:?}");
        assert_eq!(text(&answer, "x-caed-address"), *address, "{path} {headers:?}");
        let subject = if *status == 200 { "anna" } else { "" };
        assert_eq!(text(&answer, "x-caed-subject"), subject, "{path}");
        assert_eq!(text(&answer, "www-authenticate").starts_with("Bearer"), *status == 401);
        assert_eq!(text(&answer, "cache-control"), "no-store");
        let json = if *status == 200 { "" } else { "application/json" };
        assert_eq!(text(&answer, "content-type"), json, "{path}");
    }
}

#[tokio::test]
async fn a_503_reaches_each_gateway_as_a_refusal() {
    let parts = fixture::parts_of(false);
    let bearer = format!("Bearer {}", token(&claims("anna")));
    for (dialect, status, told) in
        [("nginx", 403, "503"), ("caddy", 503, ""), ("traefik", 503, ""), ("envoy", 429, "")]
    {
        let path = format!("/forward-auth/{dialect}");
        let (found, answer) = answered(&parts, &path, &[("authorization", &bearer)]).await;
        assert_eq!((found, text(&answer, "x-caed-status")), (status, told), "{dialect}");
        assert!(!text(&answer, "retry-after").is_empty(), "{dialect}");
    }
}

#[tokio::test]
async fn envoy_takes_out_what_a_client_sent_under_our_names() {
    let bearer = format!("Bearer {}", token(&claims("anna")));
    let headers =
        [("authorization", bearer.as_str()), ("x_caed_subject", "root"), ("x-caed-role", "admin")];
    let (_, answer) = answered(&fixture::parts(), "/forward-auth/envoy/", &headers).await;
    assert_eq!(text(&answer, "x-envoy-auth-headers-to-remove"), "x_caed_subject,x-caed-role");
    let (_, answer) = answered(&fixture::parts(), "/forward-auth/caddy", &headers).await;
    assert_eq!(text(&answer, "x-envoy-auth-headers-to-remove"), "");
}

#[tokio::test]
async fn who_may_not_decide_is_refused() {
    let refused = |path: &str, rights: Option<Rights>| {
        let mut request = Request::builder()
            .uri(path)
            .header("authorization", format!("Bearer {}", token(&claims("anna"))))
            .body(Body::empty())
            .expect("a request");
        if let Some(rights) = rights {
            request.extensions_mut().insert(rights);
        }
        asked(State(Arc::new(fixture::parts())), request)
    };
    let others = Rights::of(&[Right::Vouch, Right::Publish, Right::Administer]);
    for rights in [None, Some(Rights::NONE), Some(others)] {
        for path in ["/forward-auth/nginx", "/forward-auth/caddy", "/forward-auth/envoy", "/"] {
            let response = refused(path, rights).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path} {rights:?}");
            assert_eq!(text(response.headers(), "cache-control"), "no-store", "{path}");
            let body = axum::body::to_bytes(response.into_body(), 1024).await.expect("a body");
            assert_eq!(body, HttpRefusal::unasked().body, "{path}: nothing of why");
        }
    }
}
