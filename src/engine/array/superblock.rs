//! The superblock of a member: what array this is, which member, and where its parts lie. FORMAT.md has the table.
//!
//! Two copies, in the first and the last 4 KiB of the file, so that no single damaged block takes a file with it. What can
//! be computed from the rest is stored as well and compared: a superblock that contradicts itself is refused.

use super::checksum::{ArrayId, plain_checksum};
use super::directory::{Entry, MEMBERS_MAX, Shape};

/// Bytes of a copy.
pub(crate) const SUPERBLOCK_BYTES: u64 = 4096;
/// As PNG's: a byte above 127, a name, both ends of a line and the end of a text file, so that whoever mistakes the file
/// for a text shows.
pub(crate) const MAGIC: [u8; 8] = *b"\x89RNGF\r\n\x1a";
/// Reads as another number where bytes are stored the other way round.
const BYTE_ORDER: u32 = 0x0102_0304;
/// May change before ringfield 1.0.
const VERSION: u32 = 2;
/// XXH3, 64 bits.
const CHECKSUM_XXH3: u32 = 1;
const CHECKSUM_AT: usize = SUPERBLOCK_BYTES as usize - 8;
const CREATOR_BYTES: usize = 32;

/// Features without which a reader would get wrong bytes: bit, name.
const REQUIRED: [(u32, &str); 1] = [(0, "tensor index")];
pub(crate) const HAS_INDEX: u64 = 1;

/// Which of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    First,
    Last,
}

impl Copy {
    pub(crate) const BOTH: [Copy; 2] = [Copy::First, Copy::Last];

    /// Where it begins in a file of `file_bytes` bytes.
    pub(crate) fn at(self, file_bytes: u64) -> u64 {
        match self {
            Copy::First => 0,
            Copy::Last => file_bytes.saturating_sub(SUPERBLOCK_BYTES),
        }
    }
}

impl std::fmt::Display for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Copy::First => "first",
            Copy::Last => "last",
        })
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) array: ArrayId,
    pub(crate) member: u32,
    pub(crate) members: u32,
    /// How often the array was changed as a whole.
    pub(crate) generation: u64,
    pub(crate) page_bytes: u64,
    /// Bytes of the array; its pages hold zeros behind them.
    pub(crate) len: u64,
    pub(crate) features: u64,
    pub(crate) optional_features: u64,
    /// The topmost directory page.
    pub(crate) root: Entry,
    /// Where the tensor index lies in the array: first byte and length; no bytes where there is none.
    pub(crate) index_at: u64,
    pub(crate) index_bytes: u64,
    /// The program that made it.
    pub(crate) creator: String,
}

/// Where the parts of a member lie, in bytes of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemberLayout {
    pub(crate) slots: u64,
    pub(crate) shape: Shape,
    pub(crate) directory_at: u64,
    pub(crate) data_at: u64,
    pub(crate) file_bytes: u64,
}

impl MemberLayout {
    /// Of member `member` of `members`, in an array of `len` bytes; `None` where it does not fit a file.
    pub(crate) fn new(
        len: u64,
        page_bytes: u64,
        member: u32,
        members: u32,
    ) -> Option<MemberLayout> {
        let pages = len.div_ceil(page_bytes);
        let slots = pages
            .checked_sub(u64::from(member))?
            .div_ceil(u64::from(members));
        let shape = Shape::new(slots, page_bytes)?;
        let directory_at = page_bytes.max(SUPERBLOCK_BYTES);
        let data_at = shape
            .nodes
            .checked_mul(page_bytes)?
            .checked_add(directory_at)?;
        let file_bytes = slots
            .checked_mul(page_bytes)?
            .checked_add(data_at)?
            .checked_add(SUPERBLOCK_BYTES)?;
        (file_bytes <= i64::MAX as u64).then_some(MemberLayout {
            slots,
            shape,
            directory_at,
            data_at,
            file_bytes,
        })
    }
}

impl Superblock {
    /// Where the parts of this member lie; `None` where its numbers are impossible.
    pub(crate) fn layout(&self) -> Option<MemberLayout> {
        MemberLayout::new(self.len, self.page_bytes, self.member, self.members)
    }

    /// One copy's bytes.
    pub(crate) fn encode(&self, copy: Copy) -> Vec<u8> {
        let mut out = Vec::with_capacity(SUPERBLOCK_BYTES as usize);
        let layout = self.layout();
        let part = |part: fn(&MemberLayout) -> u64| layout.as_ref().map_or(0, part);
        out.extend(MAGIC);
        out.extend(BYTE_ORDER.to_le_bytes());
        out.extend(VERSION.to_le_bytes());
        out.extend(self.features.to_le_bytes());
        out.extend(self.optional_features.to_le_bytes());
        out.extend(self.array);
        out.extend(self.member.to_le_bytes());
        out.extend(self.members.to_le_bytes());
        out.extend(self.generation.to_le_bytes());
        out.extend(self.page_bytes.to_le_bytes());
        out.extend(self.len.to_le_bytes());
        out.extend(part(|l| l.slots).to_le_bytes());
        out.extend(part(|l| l.directory_at).to_le_bytes());
        out.extend(part(|l| l.shape.nodes).to_le_bytes());
        out.extend(part(|l| l.data_at).to_le_bytes());
        out.extend(part(|l| l.file_bytes).to_le_bytes());
        out.extend(self.root.to_bytes());
        out.extend(self.index_at.to_le_bytes());
        out.extend(self.index_bytes.to_le_bytes());
        out.extend(CHECKSUM_XXH3.to_le_bytes());
        out.extend(copy_number(copy).to_le_bytes());
        let mut creator = self.creator.clone().into_bytes();
        creator.resize(CREATOR_BYTES, 0);
        out.extend(creator);
        out.resize(CHECKSUM_AT, 0);
        let checksum = plain_checksum(&out);
        out.extend(checksum.to_le_bytes());
        out
    }

    /// What a copy says.
    ///
    /// # Errors
    /// What is wrong with it: offset in the copy, and words.
    pub(crate) fn decode(bytes: &[u8], copy: Copy) -> Result<Superblock, Refusal> {
        let Some(bytes) = bytes.first_chunk::<{ SUPERBLOCK_BYTES as usize }>() else {
            let what = format!("has {} bytes, not {SUPERBLOCK_BYTES}", bytes.len());
            return Err(Refusal {
                no_magic: !bytes.starts_with(&MAGIC),
                ..refuse(0, what)
            });
        };
        let mut fields = Fields { bytes, at: 0 };
        let magic: [u8; 8] = fields.take();
        if magic != MAGIC {
            let mut refusal = refuse(
                0,
                format!("begins with {magic:02x?}, not with {MAGIC:02x?}"),
            );
            refusal.no_magic = true;
            return Err(refusal);
        }
        let order = fields.u32();
        if order != BYTE_ORDER {
            let what = match order.swap_bytes() == BYTE_ORDER {
                true => "has its numbers stored big-endian; pack the model anew".into(),
                false => format!("has the byte order mark {order:#010x}, not {BYTE_ORDER:#010x}"),
            };
            return Err(refuse(8, what));
        }
        // Before anything of another version is believed, its checksum among it.
        let version = fields.u32();
        let mut stored = [0; 8];
        stored.copy_from_slice(&bytes[CHECKSUM_AT..]);
        let (stored, computed) = (
            u64::from_le_bytes(stored),
            plain_checksum(&bytes[..CHECKSUM_AT]),
        );
        if stored != computed {
            let what =
                format!("has the checksum {stored:016x}, but its bytes have {computed:016x}");
            return Err(refuse(CHECKSUM_AT, what));
        }
        if version != VERSION {
            let what = format!(
                "is of version {version} of the format; this program knows version {VERSION}"
            );
            return Err(refuse(12, what));
        }
        let features = fields.u64();
        if let Some(unknown) = (0..64).find(|&bit| {
            features & 1 << bit != 0 && !REQUIRED.iter().any(|&(known, _)| known == bit)
        }) {
            let known = REQUIRED
                .map(|(bit, name)| format!("{bit} ({name})"))
                .join(", ");
            let what = format!(
                "needs feature {unknown}, which this program does not know; known: {known}"
            );
            return Err(refuse(16, what));
        }
        let optional_features = fields.u64();
        let array = fields.take();
        let (member, members) = (fields.u32(), fields.u32());
        let generation = fields.u64();
        let (page_bytes, len) = (fields.u64(), fields.u64());
        let stored: [u64; 5] = std::array::from_fn(|_| fields.u64());
        let root = Entry::from_bytes(&fields.take());
        let (index_at, index_bytes) = (fields.u64(), fields.u64());
        let (checksum, number) = (fields.u32(), fields.u32());
        let creator: [u8; CREATOR_BYTES] = fields.take();
        if checksum != CHECKSUM_XXH3 {
            let what = format!(
                "asks for checksum function {checksum}; known: {CHECKSUM_XXH3} (XXH3, 64 bits)"
            );
            return Err(refuse(152, what));
        }
        if number != copy_number(copy) {
            return Err(refuse(
                156,
                format!("is the other copy, at the place of the {copy} one"),
            ));
        }
        if members == 0 || members > MEMBERS_MAX || member >= members {
            let what = format!("is member {member} of {members}; there can be {MEMBERS_MAX}");
            return Err(refuse(48, what));
        }
        if !page_bytes.is_power_of_two() || !(4096..=4 << 20).contains(&page_bytes) {
            let what =
                format!("has pages of {page_bytes} bytes, not a power of two of 4 KiB to 4 MiB");
            return Err(refuse(64, what));
        }
        let index_end = index_at.checked_add(index_bytes);
        if index_end.is_none_or(|end| end > len) || (features & HAS_INDEX != 0) != (index_bytes > 0)
        {
            let what = format!(
                "has a tensor index at {index_at}, {index_bytes} bytes, in {len} of the array"
            );
            return Err(refuse(136, what));
        }
        let superblock = Superblock {
            array,
            member,
            members,
            generation,
            page_bytes,
            len,
            features,
            optional_features,
            root,
            index_at,
            index_bytes,
            creator: String::from_utf8_lossy(&creator)
                .trim_end_matches('\0')
                .to_owned(),
        };
        let computed = superblock.layout().filter(|layout| layout.slots > 0);
        let Some(l) = computed else {
            return Err(refuse(
                72,
                format!("has {len} bytes on {members} members, which is impossible"),
            ));
        };
        if stored
            != [
                l.slots,
                l.directory_at,
                l.shape.nodes,
                l.data_at,
                l.file_bytes,
            ]
        {
            return Err(refuse(
                80,
                format!("has its parts lie at {stored:?}, which is not what its size needs"),
            ));
        }
        Ok(superblock)
    }
}

fn copy_number(copy: Copy) -> u32 {
    match copy {
        Copy::First => 0,
        Copy::Last => 1,
    }
}

/// Why a copy is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Offset in the copy.
    pub(crate) at: u64,
    pub(crate) what: String,
    /// It does not even begin as one.
    pub(crate) no_magic: bool,
}

fn refuse(at: usize, what: impl Into<String>) -> Refusal {
    Refusal {
        at: at as u64,
        what: what.into(),
        no_magic: false,
    }
}

struct Fields<'b> {
    bytes: &'b [u8; SUPERBLOCK_BYTES as usize],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        // All fields together are a few hundred bytes.
        field.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::{CHECKSUM_AT, Copy, Entry, HAS_INDEX, Superblock, plain_checksum};

    fn superblock() -> Superblock {
        Superblock {
            array: *b"0123456789abcdef",
            member: 1,
            members: 3,
            generation: 5,
            page_bytes: 65_536,
            len: 10_000_000,
            features: HAS_INDEX,
            optional_features: 1 << 60,
            root: Entry::present(99, 1, 4096),
            index_at: 4096,
            index_bytes: 300,
            creator: "ringfield 0.1.0".into(),
        }
    }

    #[test]
    fn a_superblock_survives_its_bytes() {
        for copy in Copy::BOTH {
            let bytes = superblock().encode(copy);
            assert_eq!(Superblock::decode(&bytes, copy), Ok(superblock()));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = superblock().encode(Copy::First);
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(
                Superblock::decode(&damaged, Copy::First).is_err(),
                "bit {at}"
            );
        }
        assert!(Superblock::decode(&bytes, Copy::Last).is_err());
        assert!(Superblock::decode(&bytes[..4095], Copy::First).is_err());
    }

    /// The copy with the bytes at `at` replaced and a checksum that fits.
    fn with(at: usize, field: &[u8]) -> String {
        let mut bytes = superblock().encode(Copy::First);
        bytes[at..at + field.len()].copy_from_slice(field);
        let checksum = plain_checksum(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        match Superblock::decode(&bytes, Copy::First) {
            Ok(_) => "accepted".into(),
            Err(refusal) => refusal.what,
        }
    }

    #[test]
    fn what_a_reader_does_not_know_is_refused_by_name() {
        for (at, field, why) in [
            (8, &0x0403_0201u32.to_le_bytes()[..], "big-endian"),
            (12, &1u32.to_le_bytes(), "version 1"),
            (12, &3u32.to_le_bytes(), "version 3"),
            (16, &(1u64 << 9 | 1).to_le_bytes(), "feature 9"),
            (48, &3u32.to_le_bytes(), "member 3 of 3"),
            (52, &0u32.to_le_bytes(), "of 0"),
            (52, &65u32.to_le_bytes(), "of 65"),
            (64, &12_288u64.to_le_bytes(), "pages of 12288"),
            (64, &(8u64 << 20).to_le_bytes(), "pages of 8388608"),
            (72, &u64::MAX.to_le_bytes(), "parts lie at"),
            (72, &0u64.to_le_bytes(), "tensor index"),
            (80, &1u64.to_le_bytes(), "parts lie at"),
            (88, &0u64.to_le_bytes(), "parts lie at"),
            (144, &u64::MAX.to_le_bytes(), "tensor index"),
            (152, &2u32.to_le_bytes(), "checksum function 2"),
            (156, &1u32.to_le_bytes(), "the other copy"),
        ] {
            let said = with(at, field);
            assert!(said.contains(why), "{at}: {said}");
        }
        // What is optional may be unknown.
        assert_eq!(with(24, &u64::MAX.to_le_bytes()), "accepted");
    }
}
