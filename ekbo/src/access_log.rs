//! One log line for each request to a plain HTTP door.

use std::sync::Arc;

use kuiperbelt::Service;
use tracing::info;

/// The service, with its requests logged if `log` says so.
pub(crate) fn logged(service: Service, log: bool) -> Service {
    if !log {
        return service;
    }
    Arc::new(move |request| {
        let method = request.method().clone();
        let url = request.uri().clone();
        let answer = service(request);
        Box::pin(async move {
            let answer = answer.await;
            let url = url.path_and_query().map_or("/", |url| url.as_str());
            info!(
                method = %method,
                url,
                status = answer.status().as_u16(),
                size = answer.body().len(),
                "access"
            );
            answer
        })
    })
}
