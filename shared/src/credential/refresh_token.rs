//! Refresh tokens: `{brand}_rt_{kid}{family}{generation}{mac}{check}`.
//!
//! Nothing secret is stored for them. The MAC proves that we issued the token, so that a forged one
//! costs no read. Because a token is derived from its key, family and generation only, the
//! successor of a token can be returned a second time, byte for byte.

use super::{TokenPrefix, base62_canonical, base62_fixed, body, compose};
use crate::{
    core::{
        error::{Fault, Refusal},
        id::{self, FamilyId},
        secret::Secret,
    },
    crypto::{
        Keyring,
        mac::{MAC_KEY_ID_LEN, MacKeyId, Tag},
    },
};

const GENERATION_LEN: usize = 6;
const HALF_MAC_LEN: usize = 22; // 128 bits
pub(super) const CODE: &str = "rt";
/// The number of characters between the prefix and the checksum.
pub(super) const BODY_LEN: usize =
    MAC_KEY_ID_LEN + id::SUFFIX_LEN + GENERATION_LEN + 2 * HALF_MAC_LEN;

/// A refresh token with a valid form, checksum and MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The key of its MAC.
    pub kid: MacKeyId,
    /// The family: all tokens that descend from one grant.
    pub family: FamilyId,
    /// The token's number within its family, from 1.
    pub generation: u64,
}

impl RefreshToken {
    /// Returns the first token of a new family, with a MAC by the key `kid`.
    pub fn first(family: FamilyId, kid: MacKeyId) -> Self {
        Self { kid, family, generation: 1 }
    }

    /// Returns the token that replaces this one, with a MAC by the key `kid`.
    pub fn successor(&self, kid: MacKeyId) -> Self {
        Self { kid, family: self.family, generation: self.generation + 1 }
    }

    /// Parses `text` and verifies its MAC, without I/O.
    ///
    /// # Errors
    /// [`Refusal::RefreshTokenForged`] for anything that we did not issue.
    pub fn parse(brand: &TokenPrefix, keyring: &Keyring, text: &str) -> Result<Self, Refusal> {
        Self::read(brand, keyring, text).ok_or(Refusal::RefreshTokenForged)
    }

    fn read(brand: &TokenPrefix, keyring: &Keyring, text: &str) -> Option<Self> {
        let body = body(brand, CODE, text)?;
        let (kid, rest) = body.split_at_checked(MAC_KEY_ID_LEN)?;
        let (family, rest) = rest.split_at_checked(id::SUFFIX_LEN)?;
        let (generation, mac) = rest.split_at_checked(GENERATION_LEN)?;
        let tag = read_tag(mac)?;
        let covered = &text[..text.len() - mac.len() - super::CHECK_LEN];
        let token = Self {
            kid: kid.to_owned().try_into().ok()?,
            family: id::from_suffix(family)?,
            generation: base62_canonical(generation)
                .and_then(|number| u64::try_from(number).ok())?,
        };
        keyring.refresh_key(&token.kid)?.verifies(covered.as_bytes(), &tag).then_some(token)
    }

    /// Returns the token's text. The MAC covers brand, kid, family and generation, all of fixed
    /// length, so that no two tokens have the same input.
    ///
    /// # Errors
    /// [`Fault::Setting`] if the key has been removed.
    pub fn encode(&self, brand: &TokenPrefix, keyring: &Keyring) -> Result<Secret, Fault> {
        let generation = base62_fixed(u128::from(self.generation), GENERATION_LEN);
        let head = format!("{}{}{generation}", self.kid.as_str(), id::suffix(&self.family));
        let key = keyring.refresh_key(&self.kid).ok_or_else(|| {
            Fault::Setting("the secret does not contain the refresh key of this family".into())
        })?;
        let tag = key.sign(format!("{}_{CODE}_{head}", brand.as_str()).as_bytes());
        Ok(Secret::new(compose(brand, CODE, &format!("{head}{}", write_tag(&tag)))))
    }
}

fn write_tag(tag: &Tag) -> String {
    let number = u128::from_be_bytes;
    let (high, low) = tag.split_at(16);
    [high, low]
        .map(|half| base62_fixed(number(half.try_into().unwrap_or_default()), HALF_MAC_LEN))
        .concat()
}

fn read_tag(text: &str) -> Option<Tag> {
    let (high, low) =
        text.split_at_checked(HALF_MAC_LEN).filter(|(_, low)| low.len() == HALF_MAC_LEN)?;
    let mut tag = [0; 32];
    tag[..16].copy_from_slice(&base62_canonical(high)?.to_be_bytes());
    tag[16..].copy_from_slice(&base62_canonical(low)?.to_be_bytes());
    Some(tag)
}
