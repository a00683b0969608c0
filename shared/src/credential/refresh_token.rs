//! Refresh tokens: `{brand}_rt_{kid}{family}{generation}{mac}{check}`.
//!
//! Nothing secret is stored for them. The MAC proves that we made the token, so that a forged one costs no read; the
//! generation says which of its family it is; and because a token follows from its family and generation alone, the
//! successor of a token can be answered a second time, byte for byte.

use super::{Brand, base62_canonical, base62_fixed, body, compose};
use crate::{
    core::{
        error::{Fault, Refusal},
        id::{self, FamilyId},
        secret::Secret,
    },
    crypto::{Keyring, keyring::KID_LEN, mac::Tag},
};

const GENERATION_LEN: usize = 6;
const HALF_MAC_LEN: usize = 22; // 128 bits
const CODE: &str = "rt";

/// A refresh token that we made: form, checksum and MAC are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    kid: String,
    /// All tokens that descend from one grant.
    pub family: FamilyId,
    /// Which of them this is; the first is 1.
    pub generation: u64,
}

impl RefreshToken {
    /// The first token of a new family.
    ///
    /// # Errors
    /// [`Fault::Setting`] where the secret holds no refresh key.
    pub fn first(family: FamilyId, keyring: &Keyring) -> Result<Self, Fault> {
        Ok(Self { kid: keyring.current_refresh_kid()?.to_owned(), family, generation: 1 })
    }

    /// The token that follows.
    pub fn successor(&self) -> Self {
        Self { kid: self.kid.clone(), family: self.family, generation: self.generation + 1 }
    }

    /// Reads `text` and verifies its MAC. No I/O.
    ///
    /// # Errors
    /// [`Refusal::RefreshTokenForged`] for anything that we did not make.
    pub fn parse(brand: &Brand, keyring: &Keyring, text: &str) -> Result<Self, Refusal> {
        Self::read(brand, keyring, text).ok_or(Refusal::RefreshTokenForged)
    }

    fn read(brand: &Brand, keyring: &Keyring, text: &str) -> Option<Self> {
        let body = body(brand, CODE, text)?;
        let (kid, rest) = body.split_at_checked(KID_LEN)?;
        let (family, rest) = rest.split_at_checked(id::SUFFIX_LEN)?;
        let (generation, mac) = rest.split_at_checked(GENERATION_LEN)?;
        let tag = read_tag(mac)?;
        let covered = &text[..text.len() - mac.len() - super::CHECK_LEN];
        let token = Self {
            kid: kid.to_owned(),
            family: id::from_suffix(family)?,
            generation: base62_canonical(generation)
                .and_then(|number| u64::try_from(number).ok())?,
        };
        keyring.refresh(kid)?.verifies(covered.as_bytes(), &tag).then_some(token)
    }

    /// The token's text. The MAC covers brand, kid, family and generation, all of fixed length, so that no two tokens share an input.
    ///
    /// # Errors
    /// [`Fault::Setting`] where the secret no longer holds the family's key.
    pub fn encode(&self, brand: &Brand, keyring: &Keyring) -> Result<Secret, Fault> {
        let generation = base62_fixed(u128::from(self.generation), GENERATION_LEN);
        let head = format!("{}{}{generation}", self.kid, id::suffix(&self.family));
        let key = keyring
            .refresh(&self.kid)
            .ok_or_else(|| Fault::Setting("the secret holds no such refresh key".into()))?;
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
