//! Passwords: Argon2id with the parameters that OWASP's password storage cheat sheet gives as its first choice.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use domain::refusal::Refusal;

use crate::CommandError;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The contract's minimum, in characters.
pub const MIN_LENGTH: usize = 6;
/// Longer ones only keep the processor busy.
pub const MAX_LENGTH: usize = 256;

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// # Errors
/// When it is shorter than [`MIN_LENGTH`] or longer than [`MAX_LENGTH`] characters.
pub fn check(field: &str, password: &str) -> Result<(), Refusal> {
    if (MIN_LENGTH..=MAX_LENGTH).contains(&password.chars().count()) {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("must have {MIN_LENGTH} to {MAX_LENGTH} characters")))
}

/// Takes tens of milliseconds of processor time, off the async threads.
///
/// # Errors
/// When hashing fails.
pub async fn hash(password: String) -> Result<String, CommandError> {
    tokio::task::spawn_blocking(move || {
        let hash = argon2().hash_password(password.as_bytes()).map_err(CommandError::failed)?;
        Ok(hash.to_string())
    })
    .await
    .map_err(CommandError::failed)?
}

/// False for a wrong password and for a hash that can't be read. Without a hash it takes as long as with one, so that
/// the time of an answer does not tell whether an account exists.
pub async fn verify(password: String, hash: Option<String>) -> bool {
    let checked = tokio::task::spawn_blocking(move || match hash {
        Some(hash) => {
            let parsed = argon2::password_hash::phc::PasswordHash::new(&hash);
            parsed.is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
        }
        None => {
            let _ = argon2().hash_password(password.as_bytes());
            false
        }
    });
    checked.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let stored = hash("secret123".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify("secret123".to_owned(), Some(stored.clone())).await);
        assert!(!verify("secret124".to_owned(), Some(stored)).await);
        assert!(!verify("secret123".to_owned(), None).await);
    }
}
