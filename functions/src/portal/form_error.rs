//! Why a form was refused, and which of its fields is wrong.

use postern::{Error, Fault, Refusal, http::html};

/// A field of the form for a new credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Expiry,
    Labels,
    Name,
    Repositories,
    Scopes,
}

/// An error of a form.
pub(crate) struct FormError {
    /// The field that is wrong, if one is.
    pub(crate) field: Option<Field>,
    pub(crate) error: Error,
    /// A sentence that contains what was entered. The log has only that of the error.
    sentence: Option<String>,
}

impl FormError {
    /// Returns the refusal of a field, with a sentence for the page.
    pub(crate) fn of_field(field: Field, refusal: Refusal, sentence: String) -> Self {
        Self { field: Some(field), error: refusal.into(), sentence: Some(sentence) }
    }

    /// Returns the error as one of this field.
    pub(crate) fn at(self, field: Field) -> Self {
        Self { field: Some(field), ..self }
    }

    /// Returns what the page says.
    pub(crate) fn sentence(&self) -> &str {
        self.sentence.as_deref().unwrap_or_else(|| html::sentence(&self.error))
    }
}

impl From<Error> for FormError {
    fn from(error: Error) -> Self {
        let field = error.refusal().and_then(field_of);
        Self { field, error, sentence: None }
    }
}

impl From<Refusal> for FormError {
    fn from(refusal: Refusal) -> Self {
        Error::from(refusal).into()
    }
}

impl From<Fault> for FormError {
    fn from(fault: Fault) -> Self {
        Error::from(fault).into()
    }
}

/// Returns the field that a refusal is about.
fn field_of(refusal: Refusal) -> Option<Field> {
    const FIELDS: [(Refusal, Field); 10] = [
        (Refusal::ExpiryEscalation, Field::Expiry),
        (Refusal::ExpiryInThePast, Field::Expiry),
        (Refusal::LabelMalformed, Field::Labels),
        (Refusal::NameMalformed, Field::Name),
        (Refusal::RepositoriesMalformed, Field::Repositories),
        (Refusal::ResourcesMalformed, Field::Repositories),
        (Refusal::ScopeEscalation, Field::Scopes),
        (Refusal::ScopeMalformed, Field::Scopes),
        (Refusal::ScopesEmpty, Field::Scopes),
        (Refusal::ScopesTooMany, Field::Scopes),
    ];
    FIELDS.iter().find(|(known, _)| *known == refusal).map(|(_, field)| *field)
}
