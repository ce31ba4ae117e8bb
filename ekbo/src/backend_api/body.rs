//! The body of a call, which is taken whole or not at all.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kuiperbelt::{Answering, Body};

use super::BackendApi;
use super::answer::Refused;

impl BackendApi {
    /// Has `run` answer, with the whole body: at once if that has come along. One that is not
    /// wanted is read to its end all the same, with the same refusals, and need not reach `run`.
    pub(super) fn with_body(
        self: &Arc<Self>,
        body: Body,
        is_wanted: bool,
        run: impl FnOnce(&Arc<Self>, &Bytes) -> Answering + Send + 'static,
    ) -> Answering {
        if body.at_least() > self.config.max_body as u64 {
            return Refused::TooLarge.into();
        }
        match body.into_whole() {
            Ok(body) => run(self, &body),
            Err(body) => {
                let api = Arc::clone(self);
                Answering::later(async move {
                    let answering = match api.read(body, is_wanted).await {
                        Ok(body) => run(&api, &body),
                        Err(refused) => refused.into(),
                    };
                    match answering {
                        Answering::Now(answer) => answer,
                        Answering::Later(answer) => answer.await,
                    }
                })
            }
        }
    }

    /// The whole body, or, when nobody wants it, nothing of it, with the same refusals.
    pub(super) async fn read(&self, mut body: Body, is_wanted: bool) -> Result<Bytes, Refused> {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        let mut size = 0;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| Refused::Unreadable)?;
            if piece.len() > self.config.max_body - size {
                return Err(Refused::TooLarge);
            }
            size += piece.len();
            if !is_wanted {
                continue;
            }
            // Nearly every body comes in one piece, and is taken as it is.
            if size == piece.len() {
                first = piece;
                continue;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&piece);
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }
}
