//! What can be said without a server; the server's life is tested end to end beside the test cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::binaries::{expand, parse_major};
use super::cluster::{settings, shell_quote};
use super::layout::{Layout, MAX_SOCKET_PATH_BYTES, percent_encode, user_data_dir};
use super::server::PidFile;
use super::{OWNER_ROLE, PostgresError, locks};

/// A folder of its own for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("omnistream-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_major_version_is_read_from_what_the_server_says() {
    assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
    assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
    assert_eq!(parse_major("postgres (EnterpriseDB)"), None);
    assert_eq!(parse_major(""), None);
}

#[test]
fn a_star_stands_for_the_rest_of_one_path_segment() {
    let scratch = Scratch::new("star");
    for dir in ["pg-15/bin", "pg-16/bin", "pg-17", "other/bin"] {
        std::fs::create_dir_all(scratch.0.join(dir)).unwrap();
    }
    let mut found = expand(&format!("{}/pg-*/bin", scratch.0.display()));
    found.sort();
    assert_eq!(found, [scratch.0.join("pg-15/bin"), scratch.0.join("pg-16/bin")]);
    assert_eq!(expand(&format!("{}/absent/*/bin", scratch.0.display())), Vec::<PathBuf>::new());
}

#[test]
fn the_url_names_socket_folder_role_and_database_and_nothing_of_the_environment() {
    let url = Layout::of(Path::new("/srv/a b&c")).url(OWNER_ROLE, "omnistream");
    assert_eq!(
        url,
        "postgres://omnistream_owner@localhost:5432/omnistream?host=%2Fsrv%2Fa%20b%26c%2Fpostgres%2Frun&sslmode=disable"
    );
}

#[test]
fn everything_but_unreserved_characters_is_percent_encoded() {
    assert_eq!(percent_encode("aZ09-._~".as_bytes()), "aZ09-._~");
    assert_eq!(percent_encode("/%é".as_bytes()), "%2F%25%C3%A9");
}

#[test]
fn quotes_in_paths_survive_the_configuration_file_and_the_shell() {
    let layout = Layout::of(Path::new("/srv/o'neill"));
    let text = settings(&layout, &layout.data(15), true);
    assert!(text.contains("include '/srv/o''neill/postgres/data-15/postgresql.conf'\n"), "{text}");
    assert!(text.contains("unix_socket_directories = '\"/srv/o''neill/postgres/run\"'\n"), "{text}");
    assert_eq!(shell_quote("/srv/o'neill"), r"'/srv/o'\''neill'");
}

#[test]
fn durability_is_on_unless_the_data_is_thrown_away() {
    let layout = Layout::of(Path::new("/srv"));
    for (durable, word) in [(true, "on"), (false, "off")] {
        let text = settings(&layout, &layout.data(15), durable);
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            assert!(
                text.contains(&format!("\n{name} = {word}\n")),
                "{name} with durable = {durable}: {text}"
            );
        }
    }
}

#[test]
fn the_pid_file_gives_process_and_status() {
    let text = "4711\n/srv/data-15\n1700000000\n5432\n/srv/run\n\n  1234567     32770\nready   \n";
    assert_eq!(PidFile::parse(text), Some(PidFile { pid: 4711, status: "ready".into() }));
    assert_eq!(PidFile::parse("4711\n/srv"), Some(PidFile { pid: 4711, status: String::new() }));
    assert_eq!(PidFile::parse("-4711\n").map(|file| file.pid), Some(-4711));
    assert_eq!(PidFile::parse(""), None);
    assert_eq!(PidFile::parse("nonsense\n"), None);
}

#[test]
fn a_socket_path_beyond_the_system_limit_is_refused_with_advice() {
    let scratch = Scratch::new("long");
    let error = Layout::prepare(&scratch.0.join("x".repeat(MAX_SOCKET_PATH_BYTES))).unwrap_err();
    assert!(matches!(error, PostgresError::SocketPathTooLong { .. }), "{error}");
    assert!(error.to_string().contains("OMNISTREAM_DATA_DIR"), "{error}");
}

#[test]
fn a_path_that_the_configuration_file_cannot_hold_is_refused() {
    for name in ["line\nbreak", "double\"quote"] {
        let error = Layout::prepare(&std::env::temp_dir().join(name)).unwrap_err();
        assert!(matches!(error, PostgresError::UnusablePath { .. }), "{error}");
    }
}

#[test]
fn only_a_complete_database_counts_and_the_newest_wins() {
    let scratch = Scratch::new("majors");
    let layout = Layout::prepare(&scratch.0).unwrap();
    assert_eq!(layout.existing_major().unwrap(), None);
    for dir in ["data-15", "data-16", "data-17", "data-18.new-1"] {
        std::fs::create_dir(layout.root().join(dir)).unwrap();
    }
    for dir in ["data-15", "data-16", "data-18.new-1"] {
        std::fs::write(layout.root().join(dir).join("PG_VERSION"), "").unwrap();
    }
    assert_eq!(layout.existing_major().unwrap(), Some(16));
    assert_eq!(layout.leftovers().unwrap(), [layout.root().join("data-18.new-1")]);
}

#[test]
fn a_lock_is_free_again_once_its_file_is_dropped() {
    let scratch = Scratch::new("locks");
    let path = scratch.0.join("lock");
    let first = locks::shared(&path).unwrap();
    let second = locks::shared(&path).unwrap();
    assert!(locks::try_exclusive(&path).unwrap().is_none());
    drop(first);
    assert!(locks::try_exclusive(&path).unwrap().is_none());
    drop(second);
    assert!(locks::try_exclusive(&path).unwrap().is_some());
}

#[test]
fn the_data_folder_follows_the_base_directory_specification() {
    let os = |text: &str| Some(OsString::from(text));
    assert_eq!(user_data_dir(os("/data"), os("/home/a")), Some(PathBuf::from("/data/omnistream")));
    let default = Some(PathBuf::from("/home/a/.local/share/omnistream"));
    assert_eq!(user_data_dir(None, os("/home/a")), default);
    assert_eq!(user_data_dir(os("relative"), os("/home/a")), default);
    assert_eq!(user_data_dir(os(""), os("")), None);
}
