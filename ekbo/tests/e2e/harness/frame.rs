//! WebSocket frames by hand, as a client writes them: well-formed unless told otherwise.

/// A frame from the client.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    finished: bool,
    /// The three reserved bits, as a number from 0 to 7.
    reserved: u8,
    opcode: u8,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
}

impl Frame {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;

    /// A final, masked frame.
    pub(crate) fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self {
            finished: true,
            reserved: 0,
            opcode,
            mask: Some([0x37, 0xfa, 0x21, 0x3d]),
            payload: payload.as_ref().to_owned(),
        }
    }

    pub(crate) fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Self::TEXT, payload)
    }

    pub(crate) fn binary(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Self::BINARY, payload)
    }

    pub(crate) fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Self::CONTINUATION, payload)
    }

    pub(crate) fn ping(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Self::PING, payload)
    }

    pub(crate) fn pong(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Self::PONG, payload)
    }

    pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend(reason.as_ref());
        Self::new(Self::CLOSE, payload)
    }

    /// A close frame with any payload, also one that is none.
    pub(crate) fn close_payload(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Self::CLOSE, payload)
    }

    /// Leaves the FIN bit out: more fragments follow.
    pub(crate) fn unfinished(mut self) -> Self {
        self.finished = false;
        self
    }

    /// Leaves the mask out, which a client must not.
    pub(crate) fn unmasked(mut self) -> Self {
        self.mask = None;
        self
    }

    /// Sets reserved bits: 4 is RSV1, 2 RSV2, 1 RSV3.
    pub(crate) fn reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.finished) << 7 | self.reserved << 4 | self.opcode];
        let masked = u8::from(self.mask.is_some()) << 7;
        let length = self.payload.len();
        if length < 126 {
            bytes.push(masked | u8::try_from(length).unwrap());
        } else if let Ok(length) = u16::try_from(length) {
            bytes.push(masked | 126);
            bytes.extend(length.to_be_bytes());
        } else {
            bytes.push(masked | 127);
            bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
        match self.mask {
            Some(mask) => {
                bytes.extend(mask);
                bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
            }
            None => bytes.extend(&self.payload),
        }
        bytes
    }
}
