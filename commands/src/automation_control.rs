//! Decisions about the switch that pauses a tenant's automation.

use domain::automation::Control;
use domain::automation_control::{AutomationControl, AutomationControlEvent};
use domain::refusal::Refusal;
use uuid::Uuid;

use crate::store::Decision;

/// Pauses or resumes.
///
/// # Errors
/// None.
pub fn set(
    state: &AutomationControl,
    wanted: &Control,
    by: Option<Uuid>,
) -> Result<Decision<AutomationControlEvent>, Refusal> {
    if state.control == *wanted {
        return Ok(Decision::nothing());
    }
    let Control { is_paused, pause_reason: reason, paused_until: until } = wanted.clone();
    Ok(Decision::one(if is_paused {
        AutomationControlEvent::Paused { reason, until, by }
    } else {
        AutomationControlEvent::Resumed { by }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused(reason: &str) -> Control {
        Control { is_paused: true, pause_reason: Some(reason.to_owned()), paused_until: None }
    }

    #[test]
    fn a_pause_with_another_reason_is_recorded_and_the_same_one_is_not() {
        let state = AutomationControl { control: paused("stock count"), updated_by: None };
        assert!(set(&state, &paused("stock count"), None).unwrap().is_nothing());
        assert_eq!(set(&state, &paused("holiday"), None).unwrap().events.len(), 1);
        let resumed = set(&state, &Control::default(), None).unwrap().events;
        assert_eq!(resumed, [AutomationControlEvent::Resumed { by: None }]);
    }
}
