//! One log line for each request to a plain HTTP door.

use std::sync::Arc;

use http::{Method, StatusCode, Uri};
use kuiperbelt::{Answer, Answering, Service};
use tracing::info;

use crate::log::url;

/// The service, with its requests logged if `log` says so.
pub(crate) fn logged(service: Service, log: bool) -> Service {
    if !log {
        return service;
    }
    Arc::new(move |request| {
        let (method, url) = (request.method.clone(), request.uri.clone());
        match service(request) {
            Answering::Now(answer) => {
                log_one(&method, &url, &answer);
                answer.into()
            }
            Answering::Later(answer) => Answering::later(async move {
                let answer = answer.await;
                log_one(&method, &url, &answer);
                answer
            }),
        }
    })
}

/// Logs a request that was answered piece by piece; `None` if its client has left before.
pub(crate) fn log_relayed(method: &Method, target: &[u8], status: Option<StatusCode>, size: u64) {
    let url = url::shown(target);
    info!(method = %method, url = &*url, status = status.map(|status| status.as_u16()), size, "access");
}

fn log_one(method: &Method, url: &Uri, answer: &Answer) {
    let url = url::shown(url.path_and_query().map_or("/", |url| url.as_str()).as_bytes());
    info!(
        method = %method,
        url = &*url,
        status = answer.status().as_u16(),
        size = answer.body().len(),
        "access"
    );
}
