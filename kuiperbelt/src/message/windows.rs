//! Which compressed forms of a message some clients will ask for: one for each window size that was
//! agreed on. They are made ahead, so that nobody waits for them behind a lock.

use kuiperbelt_websocket::Deflate;

use super::{Message, WINDOWS, window};

/// How many clients have agreed on each window size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Windows {
    agreed: [Option<(Deflate, usize)>; WINDOWS],
    /// The least size, in bytes, from which on any of them gets compressed messages.
    min_size: Option<usize>,
}

impl Windows {
    /// One client more.
    pub(crate) fn add(&mut self, deflate: Deflate, min_size: usize) {
        self.agreed[window(deflate)].get_or_insert((deflate, 0)).1 += 1;
        self.min_size = Some(self.min_size.map_or(min_size, |least| least.min(min_size)));
    }

    /// One client less, which was added before.
    pub(crate) fn remove(&mut self, deflate: Deflate) {
        let place = &mut self.agreed[window(deflate)];
        *place = place.map(|(deflate, count)| (deflate, count - 1)).filter(|(_, count)| *count > 0);
    }

    /// Whether nobody has agreed on any.
    pub(crate) fn is_empty(&self) -> bool {
        self.agreed.iter().all(Option::is_none)
    }

    /// Compresses a message in each form that will be asked for.
    pub(crate) fn compress(&self, message: &Message) {
        let Some(min_size) = self.min_size else { return };
        for (deflate, _) in self.agreed.iter().flatten() {
            drop(message.frame(Some(*deflate), min_size));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::SEC_WEBSOCKET_EXTENSIONS;
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn deflate(bits: u8) -> Deflate {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let offer = HeaderValue::from_str(&offer).unwrap();
        Deflate::negotiate(&HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, offer)])).unwrap().0
    }

    fn compressed(windows: &Windows, size: usize) -> Vec<u8> {
        let message = Message::text(&"x".repeat(size));
        windows.compress(&message);
        (9..=15).filter(|bits| message.is_compressed_for(deflate(*bits))).collect()
    }

    #[test]
    fn a_message_is_compressed_for_whoever_is_there() {
        let mut windows = Windows::default();
        assert!(windows.is_empty());
        assert_eq!(compressed(&windows, 1000), [0; 0]);
        for (bits, min_size) in [(15, 500), (15, 100), (10, 500)] {
            windows.add(deflate(bits), min_size);
        }
        assert_eq!(compressed(&windows, 1000), [10, 15]);
        assert_eq!(compressed(&windows, 100), [10, 15]);
        assert_eq!(compressed(&windows, 99), [0; 0]);
        windows.remove(deflate(15));
        windows.remove(deflate(10));
        assert_eq!(compressed(&windows, 1000), [15]);
        windows.remove(deflate(15));
        assert!(windows.is_empty());
        assert_eq!(compressed(&windows, 1000), [0; 0]);
    }
}
