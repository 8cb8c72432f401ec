//! The operating-system user that the server runs as: PostgreSQL refuses root.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User, geteuid};

use super::PostgresError;

/// Tried in this order when the program runs as root.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];
const PRIVATE_DIR_MODE: u32 = 0o700;

/// The server's user, and the one who runs this program.
#[derive(Clone, Debug)]
pub(super) struct Account {
    server: User,
    program: User,
}

impl Account {
    /// The program's own user; for root the owner of the existing database in `data`, or else an unprivileged user.
    pub(super) fn choose(data: Option<&Path>) -> Result<Self, PostgresError> {
        let uid = geteuid();
        let program = by_uid(uid)?;
        let owner = data.map(owner_of).transpose()?;
        let server = match (uid.is_root(), owner) {
            (true, Some(owner)) if !owner.is_root() => by_uid(owner)?,
            (true, _) => unprivileged()?,
            (false, Some(owner)) if owner != uid => {
                let data = data.unwrap_or(Path::new("")).to_path_buf();
                return Err(PostgresError::ForeignOwner { data, owner: owner.as_raw(), uid: uid.as_raw() });
            }
            (false, _) => program.clone(),
        };
        Ok(Self { server, program })
    }

    /// Names of the users who may sign in over the socket. Root could become any of the others anyway.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        BTreeSet::from([self.server.name.as_str(), self.program.name.as_str(), "root"])
    }

    fn is_other(&self) -> bool {
        self.server.uid != self.program.uid
    }

    /// A command that runs as the server's user, untouched by the `PG…` variables and the folder of the caller.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG") || name.starts_with("LC_")) {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").current_dir("/");
        if self.is_other() {
            // The standard library drops the supplementary groups of root along with the user id.
            command.uid(self.server.uid.as_raw()).gid(self.server.gid.as_raw()).env("HOME", "/");
        }
        command
    }

    /// Makes `dir` a folder for the server's user alone; finishes the job where a killed process left it half done.
    pub(super) fn own_dir(&self, dir: &Path) -> Result<(), PostgresError> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(PostgresError::io("create the folder", dir)(error));
            }
            _ => {}
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE_DIR_MODE))
            .map_err(PostgresError::io("set the permissions of", dir))?;
        if self.is_other() {
            let (uid, gid) = (self.server.uid.as_raw(), self.server.gid.as_raw());
            chown(dir, Some(uid), Some(gid)).map_err(PostgresError::io("change the owner of", dir))?;
        }
        Ok(())
    }

    /// Asks the system, as the server's user, whether that user can pass through `dir`: permissions, ACLs and mount
    /// options all have their say.
    pub(super) fn check_reach(&self, dir: &Path) -> Result<(), PostgresError> {
        if !self.is_other() {
            return Ok(());
        }
        let test = Path::new("test");
        let reachable = self
            .command(test)
            .arg("-x")
            .arg(dir)
            .stdin(Stdio::null())
            .status()
            .map_err(PostgresError::io("run", test))?
            .success();
        if reachable {
            return Ok(());
        }
        Err(PostgresError::Unreachable { dir: dir.to_path_buf(), user: self.server.name.clone() })
    }
}

fn owner_of(data: &Path) -> Result<Uid, PostgresError> {
    let metadata = fs::metadata(data).map_err(PostgresError::io("look at", data))?;
    Ok(Uid::from_raw(metadata.uid()))
}

fn by_uid(uid: Uid) -> Result<User, PostgresError> {
    let entry = User::from_uid(uid).map_err(|errno| {
        PostgresError::io("read the password database", Path::new("/etc/passwd"))(errno.into())
    })?;
    entry.ok_or(PostgresError::NoPasswdEntry { uid: uid.as_raw() })
}

fn unprivileged() -> Result<User, PostgresError> {
    UNPRIVILEGED_USERS
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root()))
        .ok_or(PostgresError::NoUnprivilegedUser)
}
