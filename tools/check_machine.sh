# Says in one sentence what a fresh machine lacks: check_machine.sh PYTHON VENV TORCH_BACKEND
python=$1 venv=$2 backend=$3
fail() { echo "$1" >&2; exit 1; }
command -v "$python" >/dev/null || fail "Python is missing: install Python 3.11 or newer (with venv), or name it with make PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$python" --version) is too old: install Python 3.11 or newer, or name it with make PYTHON=…"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv module is missing: install it (python3-venv on Debian and Ubuntu)."
command -v cargo >/dev/null || fail "cargo is missing: install a Rust toolchain, and put cargo on the PATH."
command -v cc >/dev/null || fail "A C linker is missing: install cc (build-essential on Debian and Ubuntu, Xcode's command line tools on a Mac)."
if [ ! -e "$venv/.installed" ]; then
  need=9
  [ "$backend" = cpu ] && need=4
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$need" ] || fail "Only $free GiB are free here, and the environment needs about $need: free some (TORCH_BACKEND=cpu needs 4)."
fi
