//! A source's `app`: how the tenant key of a record is made.

/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 255;

/// The placeholders that can be used, for messages.
const PLACEHOLDERS: [&str; 2] = ["app_name", "hostname"];

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Stands as it is. Never empty, without whitespace and control characters.
    Constant(String),
    /// `{app_name}`: the program, RFC 5424 APP-NAME.
    AppName,
    /// `{hostname}`: RFC 5424 HOSTNAME.
    Hostname,
}

/// Constants and placeholders, one after the other, of which the tenant key is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppTemplate(Vec<TemplatePart>);

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing would name the app.
    #[error("is empty; allowed: {ALLOWED}")]
    Empty,
    /// Longer than a tenant key may be.
    #[error("is {0} bytes long; allowed: at most {TEMPLATE_BYTES_MAX}")]
    Long(usize),
    /// A brace without its other half.
    #[error("has a brace without its other half; allowed: {ALLOWED}")]
    Brace,
    /// Whitespace or a control character outside of braces.
    #[error("has the character {0:?}; allowed: anything but whitespace and control characters")]
    Character(char),
    /// `{field.…}` is planned.
    #[error("uses {{field.…}}, which is not supported yet by this build; allowed: {ALLOWED}")]
    Field,
    /// A placeholder that does not exist.
    #[error("uses the unknown placeholder {{{name}}}{}allowed: {ALLOWED}",
        super::report::did_you_mean(.nearest.as_deref()))]
    Unknown {
        /// What stands between the braces, shortened.
        name: String,
        /// The placeholder that was probably meant.
        nearest: Option<String>,
    },
}

/// What a template may hold, for messages.
const ALLOWED: &str = "constants, {app_name} and {hostname}, as in \"{app_name}-{hostname}\"";

impl AppTemplate {
    /// `{app_name}`, the default: records belong to the program that wrote them.
    #[must_use]
    pub fn app_name() -> Self {
        Self(vec![TemplatePart::AppName])
    }

    /// Reads a template. Braces cannot be escaped: a tenant key has none.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::Long(text.len()));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((constant, from)) = rest.split_once('{') {
            push_constant(&mut parts, constant)?;
            let Some((name, after)) = from.split_once('}') else {
                return Err(TemplateError::Brace);
            };
            parts.push(placeholder(name)?);
            rest = after;
        }
        push_constant(&mut parts, rest)?;
        Ok(Self(parts))
    }

    /// The pieces in order; never empty, no two constants side by side.
    #[must_use]
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }
}

fn placeholder(name: &str) -> Result<TemplatePart, TemplateError> {
    match name {
        "app_name" => Ok(TemplatePart::AppName),
        "hostname" => Ok(TemplatePart::Hostname),
        _ if name == "field" || name.starts_with("field.") => Err(TemplateError::Field),
        _ if name.contains('{') => Err(TemplateError::Brace),
        _ => {
            let nearest = super::report::nearest(name, PLACEHOLDERS.iter().copied());
            let name = name.chars().take(40).collect();
            Err(TemplateError::Unknown { name, nearest: nearest.map(str::to_owned) })
        }
    }
}

fn push_constant(parts: &mut Vec<TemplatePart>, text: &str) -> Result<(), TemplateError> {
    if text.contains('}') {
        return Err(TemplateError::Brace);
    }
    if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(TemplateError::Character(bad));
    }
    if !text.is_empty() {
        parts.push(TemplatePart::Constant(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_constants_and_placeholders() {
        use TemplatePart::{AppName, Constant, Hostname};
        let constant = |text: &str| Constant(text.to_owned());
        for (text, expected) in [
            ("{app_name}", vec![AppName]),
            ("{hostname}", vec![Hostname]),
            ("web-shop", vec![constant("web-shop")]),
            ("{app_name}-{hostname}", vec![AppName, constant("-"), Hostname]),
            ("a{app_name}{hostname}b", vec![constant("a"), AppName, Hostname, constant("b")]),
        ] {
            assert_eq!(AppTemplate::parse(text).unwrap().parts(), expected, "{text}");
        }
        assert_eq!(AppTemplate::app_name(), AppTemplate::parse("{app_name}").unwrap());
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_reason() {
        for (text, expected) in [
            ("", TemplateError::Empty),
            ("{app_name", TemplateError::Brace),
            ("app_name}", TemplateError::Brace),
            ("{{app_name}}", TemplateError::Brace),
            ("a b", TemplateError::Character(' ')),
            ("a\u{7f}", TemplateError::Character('\u{7f}')),
            ("{field.namespace}", TemplateError::Field),
            (&"x".repeat(256), TemplateError::Long(256)),
        ] {
            assert_eq!(AppTemplate::parse(text), Err(expected), "{text}");
        }
        assert_eq!(
            AppTemplate::parse("{appname}").unwrap_err().to_string(),
            "uses the unknown placeholder {appname}; did you mean \"app_name\"? allowed: \
             constants, {app_name} and {hostname}, as in \"{app_name}-{hostname}\""
        );
    }
}
