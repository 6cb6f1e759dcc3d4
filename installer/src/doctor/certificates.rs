//! What do AM's certificates say, in words?

use x509_parser::prelude::{FromDer, X509Certificate};

/// One line a certificate, AM's own first.
pub(crate) fn described(chain: &[Vec<u8>]) -> Vec<String> {
    let lines = chain
        .iter()
        .map(|der| match X509Certificate::from_der(der) {
            Ok((_, certificate)) => {
                let validity = certificate.validity();
                let names = certificate.subject_alternative_name().ok().flatten();
                let names: Vec<String> = names
                    .map(|n| {
                        n.value
                            .general_names
                            .iter()
                            .map(ToString::to_string)
                            .collect()
                    })
                    .unwrap_or_default();
                let names = match names.is_empty() {
                    true => String::new(),
                    false => format!(" ({})", names.join(", ")),
                };
                format!(
                    "certificate of {}{names}, signed by {}, valid from {} to {}",
                    certificate.subject(),
                    certificate.issuer(),
                    validity.not_before,
                    validity.not_after
                )
            }
            Err(_) => "a certificate that cannot be read".to_owned(),
        });
    // What a server sends is not ours: no line of a log is forged by it.
    lines
        .map(|line| line.replace(char::is_control, "?"))
        .collect()
}
