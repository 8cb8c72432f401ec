//! Why an action did not take effect, and whether that passes by itself.

use commands::{CommandError, Refusal};

/// What a person reads when the fault is ours.
const AT_THE_MOMENT: &str = "It could not be carried out at the moment.";

/// An action that did not take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For a person.
    pub reason: String,
    /// Another attempt would find the same: the target is gone, a rule refuses it, the receiver does not want it.
    pub permanent: bool,
}

impl Failure {
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: true }
    }

    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: false }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => {
                Self { permanent: !refusal.is_contended(), reason: explained(&refusal) }
            }
            error => {
                tracing::warn!(%error, "an action of automation failed");
                Self::passing(AT_THE_MOMENT)
            }
        }
    }
}

fn explained(refusal: &Refusal) -> String {
    if refusal.fields.is_empty() {
        return format!("{}: {}", refusal.code, refusal.detail);
    }
    let fields = refusal.fields.iter().map(|field| format!("{} {}", field.field, field.message));
    format!("{}: {}", refusal.code, fields.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_final_unless_others_were_only_faster() {
        let gone = Failure::from(CommandError::from(Refusal::conflict("target_gone", "It is gone.")));
        assert_eq!(gone, Failure::permanent("target_gone: It is gone."));
        assert!(!Failure::from(CommandError::from(Refusal::contended())).permanent);
        assert_eq!(Failure::from(CommandError::Busy), Failure::passing(AT_THE_MOMENT));
    }

    #[test]
    fn a_refusal_names_its_fields() {
        let refused = Failure::from(CommandError::from(Refusal::invalid("tags", "are too many")));
        assert_eq!(refused, Failure::permanent("invalid: tags are too many"));
    }
}
