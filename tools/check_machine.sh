# Says in one sentence what a fresh machine lacks: check_machine.sh PYTHON VENV TORCH_BACKEND
python=$1 venv=$2 backend=$3
fail() { echo "$1" >&2; exit 1; }
command -v "$python" >/dev/null || fail "Python is missing: install Python 3.11 or newer (with venv), or name it with make PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$python" --version) is too old: install Python 3.11 or newer, or name it with make PYTHON=…"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv module is missing: install it (python3-venv on Debian and Ubuntu)."
command -v cargo >/dev/null || fail "cargo is missing: install a Rust toolchain, and put cargo on the PATH."
rust=$(cargo --version | awk '{ print $2 }')
least=$(awk -F '"' '/^rust-version/ { print $2 }' "${0%/*}/../rust_sessionizer/Cargo.toml")
awk -v rust="$rust" -v least="$least" 'BEGIN { split(rust, a, "."); split(least, b, "."); exit (a[1] * 1000 + a[2] < b[1] * 1000 + b[2]) }' ||
  fail "Rust $rust is too old: install $least or newer (rustup update)."
command -v cc >/dev/null || fail "A C linker is missing: install cc (build-essential on Debian and Ubuntu, Xcode's command line tools on a Mac)."
if [ ! -e "$venv/.installed" ]; then
  need=9
  [ "$backend" = cpu ] && need=4
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$need" ] || fail "Only $free GiB are free here, and the environment needs about $need: free some (TORCH_BACKEND=cpu needs 4)."
fi
