//! Text that people type: passwords, names, labels and email addresses.
//!
//! Two texts that look the same must be the same, whichever keyboard, system or font they were
//! typed with, and no text may hide or reorder what others read. The rules are those of PRECIS (RFC
//! 8264), of its profiles OpaqueString for passwords (RFC 8265 §4.2) and Nickname for names (RFC
//! 8266 §2), and of UTS 46 for domains. ICU4X has the data of the Unicode Standard; the profiles
//! themselves are here, because the crate that has them knows only Unicode 6.3.
//!
//! There are three differences from the RFCs. A text is checked after it was normalized, because
//! some systems decompose Hangul. Sequences of emoji are allowed, because their invisible parts are
//! a part of what people see. Names keep compatibility characters such as ½, which NFKC would
//! replace.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiComponent,
        ExtendedPictographic, GeneralCategory, HangulSyllableType, JoiningType,
    },
};
use idna::AsciiDenyList;

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const VARIATION_SELECTORS: std::ops::RangeInclusive<char> = '\u{fe0e}'..='\u{fe0f}';
/// The most marks in a row of a name: more cover the lines near it (UTS 39 §5.4).
const MOST_MARKS: usize = 4;
/// A pattern without dots: a space that Unicode counts as a symbol.
const BRAILLE_BLANK: char = '\u{2800}';

/// Returns a password in its normal form (OpaqueString); `None` if it contains what people cannot
/// see, or is empty.
pub fn password(text: &str) -> Option<String> {
    let text = nfc(&with_ascii_spaces(text));
    (!text.is_empty() && is_visible(&text)).then_some(text)
}

/// Returns a name or label in its normal form: without spaces at its ends and repeated spaces;
/// `None` if it contains what people cannot see, or is blank.
pub fn name(text: &str) -> Option<String> {
    let spaced = with_ascii_spaces(text);
    let words: Vec<_> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
    let text = nfc(&words.join(" "));
    let is_blank = text.chars().all(|letter| letter == ' ' || letter == BRAILLE_BLANK);
    (!is_blank && is_visible(&text) && !has_stacked_marks(&text)).then_some(text)
}

fn has_stacked_marks(text: &str) -> bool {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let is_mark = |letter| {
        matches!(
            categories.get(letter),
            GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
        )
    };
    text.split(|letter| !is_mark(letter)).any(|marks| marks.chars().count() > MOST_MARKS)
}

/// Returns a name as people search for it: in one case, and with compatibility characters replaced.
/// Each character is folded by itself, so that the beginning of a name remains the beginning.
pub fn folded(name: &str) -> String {
    let fold = |letter: char| letter.to_uppercase().flat_map(char::to_lowercase);
    nfkc(&nfkc(name).chars().flat_map(fold).collect::<String>())
}

/// Returns the part of an email address before the `@` in its normal form: in lower case, and with
/// compatibility characters replaced, such as letters of full width. `None` if it contains spaces,
/// or what people cannot see.
pub fn local_part(text: &str) -> Option<String> {
    let text = nfkc(&nfkc(text).to_lowercase());
    let is_plain = |letter: char| {
        !letter.is_whitespace()
            && letter != '@'
            && letter != BRAILLE_BLANK
            && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(letter)
    };
    (!text.is_empty() && text.chars().all(is_plain) && is_visible(&text)).then_some(text)
}

/// Returns a domain in its normal form: in lower case, and in Unicode where it has a form in ASCII
/// for DNS (UTS 46). `None` if it is not a domain.
pub fn domain(text: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_cow(text.as_bytes(), AsciiDenyList::URL).ok()?;
    let (unicode, result) = idna::domain_to_unicode(&ascii);
    let is_domain = result.is_ok() && unicode.split('.').all(|label| !label.is_empty());
    is_domain.then_some(unicode)
}

/// Returns `text` with compatibility characters replaced (NFKC), such as letters of full width,
/// which some keyboards write.
pub fn without_compatibility_characters(text: &str) -> String {
    nfkc(text)
}

/// Reports whether people can see every character of `text`, or see its effect: the FreeformClass
/// of RFC 8264 §4.3.
pub fn is_visible(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    (0..letters.len()).all(|at| {
        let letter = letters[at];
        let (before, after) = (&letters[..at], &letters[at + 1..]);
        match letter {
            ' '..='~' => true,
            ZERO_WIDTH_JOINER => is_after_virama(before) || joins_emoji(before, after),
            ZERO_WIDTH_NON_JOINER => is_after_virama(before) || parts_joined_letters(before, after),
            letter if VARIATION_SELECTORS.contains(&letter) => ends_with_emoji(before),
            letter => is_allowed(letter),
        }
    })
}

/// Reports whether a character is allowed wherever it stands.
fn is_allowed(letter: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(letter);
    let is_refused = [
        GeneralCategory::Control,
        GeneralCategory::Format,
        GeneralCategory::LineSeparator,
        GeneralCategory::ParagraphSeparator,
        GeneralCategory::PrivateUse,
        GeneralCategory::Surrogate,
        GeneralCategory::Unassigned,
    ]
    .contains(&category);
    let hangul = CodePointMapData::<HangulSyllableType>::new().get(letter);
    let is_old_jamo = [
        HangulSyllableType::LeadingJamo,
        HangulSyllableType::VowelJamo,
        HangulSyllableType::TrailingJamo,
    ]
    .contains(&hangul);
    let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(letter);
    !is_refused && !is_old_jamo && !is_ignorable
}

/// Reports whether a joiner follows a virama (RFC 5892 appendix A.1).
fn is_after_virama(before: &[char]) -> bool {
    let classes = CodePointMapData::<CanonicalCombiningClass>::new();
    before.last().is_some_and(|last| classes.get(*last) == CanonicalCombiningClass::Virama)
}

/// Reports whether a non-joiner keeps two letters apart that would be joined, as in Persian (RFC
/// 5892 appendix A.1).
fn parts_joined_letters(before: &[char], after: &[char]) -> bool {
    let types = CodePointMapData::<JoiningType>::new();
    let next_type = |letters: &mut dyn Iterator<Item = &char>| {
        letters.map(|letter| types.get(*letter)).find(|kind| *kind != JoiningType::Transparent)
    };
    let left = next_type(&mut before.iter().rev());
    let right = next_type(&mut after.iter());
    let joins = |kind, other| kind == Some(JoiningType::DualJoining) || kind == Some(other);
    joins(left, JoiningType::LeftJoining) && joins(right, JoiningType::RightJoining)
}

/// Reports whether a joiner makes one emoji out of two, as in a family.
fn joins_emoji(before: &[char], after: &[char]) -> bool {
    let is_picture =
        |letter: &char| CodePointSetData::new::<ExtendedPictographic>().contains(*letter);
    let mut parts = before.iter().rev();
    let last = parts.find(|letter| !is_emoji_modifier(**letter));
    last.is_some_and(is_picture) && after.first().is_some_and(is_picture)
}

fn ends_with_emoji(before: &[char]) -> bool {
    before.last().is_some_and(|last| CodePointSetData::new::<Emoji>().contains(*last))
}

/// Reports whether a character changes the emoji before it.
fn is_emoji_modifier(letter: char) -> bool {
    let is_component = CodePointSetData::new::<EmojiComponent>().contains(letter);
    is_component && letter != ZERO_WIDTH_JOINER
}

/// Replaces the other space characters, which look the same, by U+0020.
fn with_ascii_spaces(text: &str) -> String {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let is_space = |letter: char| categories.get(letter) == GeneralCategory::SpaceSeparator;
    text.chars().map(|letter| if is_space(letter) { ' ' } else { letter }).collect()
}

fn nfc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

fn nfkc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfkc().normalize(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{domain, folded, local_part, name, password};

    #[test]
    fn a_password_is_the_same_however_it_was_typed() {
        for (typed, expected) in [
            ("correct horse", "correct horse"),
            (" Correct  Horse ", " Correct  Horse "),
            ("cafe\u{301}", "caf\u{e9}"),
            ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
            ("a\u{a0}b\u{3000}c\u{2009}d", "a b c d"),
            ("\u{212b}\u{2126}", "\u{c5}\u{3a9}"),
            // Compatibility characters are kept (RFC 8265 §4.2).
            ("\u{ff50}\u{fb01}\u{bd}", "\u{ff50}\u{fb01}\u{bd}"),
            ("🐴🔋🫠", "🐴🔋🫠"),
            ("❤\u{fe0f} 👩\u{200d}💻 👩🏽\u{200d}💻", "❤\u{fe0f} 👩\u{200d}💻 👩🏽\u{200d}💻"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("क\u{94d}\u{200d}ष", "क\u{94d}\u{200d}ष"),
            ("пароль密码", "пароль密码"),
        ] {
            assert_eq!(password(typed).as_deref(), Some(expected), "{typed:?}");
        }
    }

    /// What no one can see, or what changes how the rest is seen.
    const INVISIBLE: [&str; 24] = [
        "",
        "a\u{0}",
        "a\nb",
        "a\tb",
        "\u{7f}",
        "\u{85}",
        "a\u{ad}b",
        "a\u{200b}b",
        "a\u{200c}b",
        "a\u{200d}b",
        "\u{200e}a",
        "\u{202e}abc",
        "\u{2066}a\u{2069}",
        "a\u{2028}b",
        "a\u{2060}b",
        "\u{feff}a",
        "a\u{fe0f}",
        "\u{3164}",
        "\u{115f}\u{1160}",
        "\u{180e}",
        "\u{e0041}",
        "\u{e000}",
        "\u{378}",
        "\u{fff9}a",
    ];

    #[test]
    fn what_people_cannot_see_is_refused_everywhere() {
        for text in INVISIBLE {
            assert_eq!(
                (password(text), name(text), local_part(text)),
                (None, None, None),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_name_has_no_outer_or_repeated_spaces() {
        for (typed, expected) in [
            ("Build 2", Some("Build 2")),
            ("  Ada\u{a0} \u{2003}Lovelace ", Some("Ada Lovelace")),
            ("Jose\u{301}", Some("Jos\u{e9}")),
            ("½ № 5 · ﬁ", Some("½ № 5 · ﬁ")),
            ("🤖 deploy ❤\u{fe0f}", Some("🤖 deploy ❤\u{fe0f}")),
            ("שלום", Some("שלום")),
            ("Z\u{335}\u{336}\u{337}\u{338}", Some("Z\u{335}\u{336}\u{337}\u{338}")),
            ("Z\u{335}\u{336}\u{337}\u{338}\u{20dd}", None),
            (" ", None),
            ("\u{3000}\u{a0}", None),
            ("\u{2800}", None),
            ("\u{2800} \u{2800}", None),
        ] {
            assert_eq!(name(typed).as_deref(), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_name_is_found_in_any_case_and_width() {
        for (name, typed, expected) in [
            ("Deploy Ünit", "DEPLOY ÜNIT", "deploy ünit"),
            ("Straße 7", "STRASSE 7", "strasse 7"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος", "σίσυφοσ"),
            ("Сборка", "СБОРКА", "сборка"),
            ("ＣＩ－１", "ci-1", "ci-1"),
            ("ﬁle", "FILE", "file"),
            ("배포", "\u{1107}\u{1162}\u{1111}\u{1169}", "배포"),
            ("يوميّة", "يوميّة", "يوميّة"),
            ("デプロイ", "ﾃﾞﾌﾟﾛｲ", "デプロイ"),
            ("🤖 ❤\u{fe0f}", "🤖 ❤\u{fe0f}", "🤖 ❤\u{fe0f}"),
        ] {
            assert_eq!((folded(name), folded(typed)), (expected.into(), expected.into()));
        }
        assert!(folded("ΣΑΣΑ").starts_with(&folded("ΣΑΣ")));
    }

    #[test]
    fn parts_of_addresses_that_look_the_same_are_the_same() {
        for (typed, expected) in [
            ("Ada.Lovelace+x", Some("ada.lovelace+x")),
            ("JOSE\u{301}", Some("jos\u{e9}")),
            ("\u{ff41}\u{ff44}\u{ff41}", Some("ada")),
            ("o\u{fb03}ce", Some("office")),
            ("a b", None),
            ("a\u{a0}b", None),
            ("a\u{2800}", None),
            ("a\u{ff20}b", None),
            ("❤\u{fe0f}", None),
            ("می\u{200c}خواهم", None),
        ] {
            assert_eq!(local_part(typed).as_deref(), expected, "{typed:?}");
        }
        for (typed, expected) in [
            ("Example.COM", Some("example.com")),
            ("B\u{fc}cher.example", Some("b\u{fc}cher.example")),
            ("bu\u{308}cher.example", Some("b\u{fc}cher.example")),
            ("xn--bcher-kva.example", Some("b\u{fc}cher.example")),
            ("\u{ff45}xample\u{3002}com", Some("example.com")),
            ("exam\u{200b}ple.com", Some("example.com")),
            ("b", Some("b")),
            ("", None),
            ("a..b", None),
            (".a", None),
            ("a.", None),
            ("a b", None),
            ("a\n.b", None),
            ("a@b", None),
            ("[192.0.2.1]", None),
            ("\u{202e}a.example", None),
            ("xn--\u{e9}", None),
        ] {
            assert_eq!(domain(typed).as_deref(), expected, "{typed:?}");
        }
    }
}
