//! The key of a session, kept where the session is: most are short.

/// As long as a UUID in its usual form, and some.
const INLINE: usize = 38;

/// Any bytes.
pub(super) enum Key {
    Short(u8, [u8; INLINE]),
    Long(Box<[u8]>),
}

impl Key {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        if key.len() > INLINE {
            return Self::Long(key.into());
        }
        let mut bytes = [0; INLINE];
        bytes[..key.len()].copy_from_slice(key);
        Self::Short(key.len() as u8, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_stay_as_they_are() {
        for length in 0..100 {
            let key: Vec<u8> = (0..length).collect();
            assert_eq!(Key::from(&key[..]).bytes(), key);
        }
    }
}
