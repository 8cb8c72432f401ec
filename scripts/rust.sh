# shellcheck shell=bash
# Checks for what compiles the program. Source this file and call `ensure_rust`.

ensure_rust() {
  # rustup puts cargo here; a shell opened before the installation doesn't know yet.
  if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  if ! command -v cargo >/dev/null; then
    cat >&2 <<'MESSAGE'
Rust is missing. Get it from https://rustup.rs, which comes down to this line, and run this again:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
MESSAGE
    return 1
  fi
  if ! command -v cc >/dev/null; then
    cat >&2 <<'MESSAGE'
A C compiler is missing; Rust links with it. Install one and run this again:
  Debian, Ubuntu   sudo apt-get install gcc libc6-dev
  Fedora           sudo dnf install gcc
  macOS            xcode-select --install
MESSAGE
    return 1
  fi
  cargo --version
}
