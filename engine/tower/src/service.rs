//! The layer, and the service that it makes.

use std::pin::Pin;
use std::task::{Context, Poll};

use caed_core::refusal::HttpRefusal;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::access::{Access, Admitted, Refused};

/// A service behind [`Access`]: it is called for requests that are let in, and for no other.
#[derive(Clone)]
pub struct Protected<S> {
    access: Access,
    inner: S,
}

impl<S> Layer<S> for Access {
    type Service = Protected<S>;

    fn layer(&self, inner: S) -> Protected<S> {
        Protected { access: self.clone(), inner }
    }
}

impl<S, Body, Reply> Service<Request<Body>> for Protected<S>
where
    S: Service<Request<Body>, Response = Response<Reply>> + Clone + Send + 'static,
    S::Future: Send,
    Body: Send + 'static,
    Reply: From<String>,
{
    type Response = Response<Reply>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Reply>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let asked = self.access.asked(request.headers(), request.extensions());
        let access = self.access.clone();
        // The one that was asked whether it is ready is the one that is called; its clone may not be.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            match access.decide(asked).await {
                Ok(admitted) => {
                    request.extensions_mut().insert::<Admitted>(admitted);
                    ready.call(request).await
                }
                Err((refusal, refused)) => Ok(response(refusal, refused)),
            }
        })
    }
}

fn response<Reply: From<String>>(refusal: HttpRefusal, refused: Refused) -> Response<Reply> {
    let HttpRefusal { status, headers, body } = refusal;
    let mut response = Response::new(Reply::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    for (name, value) in headers {
        // Every value is made of visible ASCII and spaces.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response.extensions_mut().insert(refused);
    response
}
