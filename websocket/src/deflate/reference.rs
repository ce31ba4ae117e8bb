//! A plain inflater written from RFC 1951, for tests: slow, unbounded, and it says how far back a
//! stream reaches, which the inflater in use does not check.

use std::collections::HashMap;

/// Code length and code to symbol.
type Codes = HashMap<(u8, u16), u16>;

/// In which order the lengths of the code length code come (section 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// What a stream without a last block holds, with the greatest distance in it. `None` when it is
/// malformed, or does not end with a block.
pub(crate) fn inflate(stream: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut reader = Reader { bytes: stream, at: 0 };
    let (mut output, mut reach) = (Vec::new(), 0);
    while reader.at.div_ceil(8) < stream.len() {
        if reader.bits(1)? == 1 {
            return None;
        }
        match reader.bits(2)? {
            0 => reader.stored(&mut output)?,
            1 => {
                let (literals, distances) = fixed();
                reader.block(&literals, &distances, &mut output, &mut reach)?;
            }
            2 => {
                let (literals, distances) = reader.tables()?;
                reader.block(&literals, &distances, &mut output, &mut reach)?;
            }
            _ => return None,
        }
    }
    (reader.at == 8 * stream.len()).then_some((output, reach))
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Reader<'_> {
    /// A number of `count` bits, the lowest first.
    fn bits(&mut self, count: usize) -> Option<usize> {
        let mut number = 0;
        for place in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            number |= usize::from((byte >> (self.at % 8)) & 1) << place;
            self.at += 1;
        }
        Some(number)
    }

    fn symbol(&mut self, codes: &Codes) -> Option<usize> {
        let mut code = 0;
        for length in 1..=15 {
            code = (code << 1) | self.bits(1)? as u16;
            if let Some(&symbol) = codes.get(&(length, code)) {
                return Some(symbol.into());
            }
        }
        None
    }

    fn stored(&mut self, output: &mut Vec<u8>) -> Option<()> {
        self.at = self.at.next_multiple_of(8);
        let (length, check) = (self.bits(16)?, self.bits(16)?);
        if length ^ check != 0xffff {
            return None;
        }
        let start = self.at / 8;
        output.extend(self.bytes.get(start..start + length)?);
        self.at += 8 * length;
        Some(())
    }

    fn tables(&mut self) -> Option<(Codes, Codes)> {
        let literals = self.bits(5)? + 257;
        let distances = self.bits(5)? + 1;
        let mut lengths = [0; 19];
        for place in &ORDER[..self.bits(4)? + 4] {
            lengths[*place] = self.bits(3)? as u8;
        }
        let of_lengths = codes(&lengths);
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < literals + distances {
            let (length, times) = match self.symbol(&of_lengths)? {
                16 => (*lengths.last()?, self.bits(2)? + 3),
                17 => (0, self.bits(3)? + 3),
                18 => (0, self.bits(7)? + 11),
                length => (length as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(length, times));
        }
        let lengths = lengths.get(..literals + distances)?;
        Some((codes(&lengths[..literals]), codes(&lengths[literals..])))
    }

    fn block(
        &mut self,
        literals: &Codes,
        distances: &Codes,
        output: &mut Vec<u8>,
        reach: &mut usize,
    ) -> Option<()> {
        loop {
            let length = match self.symbol(literals)? {
                literal @ ..256 => {
                    output.push(literal as u8);
                    continue;
                }
                256 => return Some(()),
                285 => 258,
                symbol @ 257..=264 => symbol - 254,
                symbol @ 265..=284 => {
                    let extra = (symbol - 261) / 4;
                    3 + ((4 + (symbol - 261) % 4) << extra) + self.bits(extra)?
                }
                _ => return None,
            };
            let distance = match self.symbol(distances)? {
                symbol @ ..4 => symbol + 1,
                symbol @ 4..30 => {
                    let extra = symbol / 2 - 1;
                    1 + ((2 + symbol % 2) << extra) + self.bits(extra)?
                }
                _ => return None,
            };
            *reach = distance.max(*reach);
            for _ in 0..length {
                output.push(output[output.len().checked_sub(distance)?]);
            }
        }
    }
}

/// The fixed codes (section 3.2.6).
fn fixed() -> (Codes, Codes) {
    let literals: Vec<u8> = [(8, 144), (9, 112), (7, 24), (8, 8)]
        .into_iter()
        .flat_map(|(length, count)| std::iter::repeat_n(length, count))
        .collect();
    (codes(&literals), codes(&[5; 30]))
}

/// The code of each symbol from the lengths of all (section 3.2.2).
fn codes(lengths: &[u8]) -> Codes {
    let mut codes = Codes::new();
    let mut code = 0_u16;
    for length in 1..=15 {
        code <<= 1;
        for (symbol, _) in lengths.iter().enumerate().filter(|&(_, &of)| of == length) {
            codes.insert((length, code), symbol as u16);
            code += 1;
        }
    }
    codes
}
