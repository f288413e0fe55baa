#!/bin/sh
# Brings what a make target lacks: Debian packages by name, and .venv from requirements.lock.
#   sh scripts/need.sh lint|demo|test|bench
# Silent and quick when nothing lacks. Otherwise it installs as root or through sudo, from the package sources that are
# configured already; where that cannot be, one line says what is missing and how to get it.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin # where Debian keeps daemons, and where a user's PATH does not look
log=build/need.log

fail() {
  echo "dockwarden: $1" >&2
  exit 1
}

# --- what is there -----------------------------------------------------------------------------------------------

has() {
  for command in "$@"; do command -v "$command" >/dev/null || return 1; done
}

has_library() {
  ldconfig -p | grep -q "$1"
}

has_kernel() { # with its modules, as the machine of the VM tests boots it
  for image in /boot/vmlinuz-*; do
    [ -r "$image" ] && [ -e "/lib/modules/${image#/boot/vmlinuz-}/modules.dep" ] && return
  done
  return 1
}

has_udevd() {
  has udevadm || return 1
  [ -x /lib/systemd/systemd-udevd ] || [ -x /usr/lib/systemd/systemd-udevd ]
}

has_static_busybox() {
  [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1
}

has_chinese_font() {
  find /usr/share/fonts /usr/local/share/fonts -iname '*CJK*' 2>/dev/null | grep -q .
}

stamp() { # of the files that decide what is in .venv, and of the place that its scripts name
  { pwd && cat "$@"; } | sha256sum
}

is_made_from() { # STAMP-FILE FILES...
  name=$1
  shift
  [ -x .venv/bin/python ] && [ -e ".venv/$name" ] && [ "$(cat ".venv/$name")" = "$(stamp "$@")" ]
}

# The interpreter itself, not a shim or an activated environment, so that .venv never rests on .venv.
find_python() {
  for candidate in python3 /usr/bin/python3 python3.11 python3.12 python3.13; do
    "$candidate" -c 'import ensurepip, sys, venv; print(sys._base_executable); sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null && return
  done
  return 1
}

has_python() {
  is_made_from lock.stamp requirements.lock || find_python >/dev/null
}

# --- what a target needs: need PACKAGES CHECK... -----------------------------------------------------------------

need() {
  packages=$1
  shift
  "$@" || lacking="$lacking $packages"
}

look() {
  lacking=
  need "python3 python3-venv" has_python
  case $target in demo | test | bench)
    need bubblewrap has bwrap
    need ffmpeg has ffmpeg ffprobe
    need fonts-noto-cjk has_chinese_font
    need libgcrypt20 has_library libgcrypt.so.20
    need libseccomp2 has_library libseccomp.so.2
    need mosquitto has mosquitto
    need rclone has rclone
    need restic has restic
    need util-linux has prlimit
    ;;
  esac
  case $target in test)
    need busybox-static has_static_busybox
    need chromium has chromium
    need dosfstools has mkfs.fat
    need e2fsprogs has mkfs.ext4
    need exfatprogs has mkfs.exfat
    need kmod has modprobe
    need libatomic1 has_library libatomic.so.1 # playwright's driver
    need libusb-1.0-0 has_library libusb-1.0.so.0
    need linux-image-amd64 has_kernel
    need mount has mount umount losetup
    need mtools has mcopy
    need qemu-system-x86 has qemu-system-x86_64
    need udev has_udevd
    ;;
  esac
  case $target in bench)
    need openssh-client has ssh ssh-keygen
    need openssh-server has sshd
    need rsync has rsync
    ;;
  esac
}

# --- packages of the system --------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

may_install() {
  has apt-get || return 1
  [ "$(id -u)" = 0 ] && return
  has sudo || return 1
  sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; } # without a terminal nobody can type a password
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null
}

# Debian starts a daemon when its package arrives. Ours are started by who needs them, on ports of their own: stop the
# one that has just come, never one that was here before.
still() {
  if [ -d /run/systemd/system ]; then
    as_root systemctl disable --now "$1"
  else
    as_root update-rc.d "$1" disable
    as_root invoke-rc.d "$1" stop
  fi >>"$log" 2>&1 || true
}

install_packages() {
  advice="apt-get install --no-install-recommends$lacking (as root), then run make again"
  may_install || fail "missing:$lacking. Get them: $advice"
  echo "dockwarden: installing$lacking" >&2
  apt update || true # an unreachable source among several need not matter
  # shellcheck disable=SC2086 # one word a package
  apt install -y --no-install-recommends $lacking || fail "missing:$lacking. apt failed ($log). Get them: $advice"
  case $lacking in *mosquitto*) still mosquitto ;; esac
  case $lacking in *openssh-server*) still ssh ;; esac
  case $lacking in *udev*) still udev ;; esac
  look
  [ -z "$lacking" ] || fail "missing:$lacking, although apt has installed it. Python must be 3.11 or newer; see $log"
}

# --- .venv -------------------------------------------------------------------------------------------------------

pip() {
  .venv/bin/python -m pip --disable-pip-version-check --no-input install "$@" >>"$log" 2>&1 ||
    fail "missing: Python packages. pip failed ($log). Get them: reach a Python package index, then run make again"
}

# Wheels only: building one from source would run code that no hash in the lock covers.
make_venv() {
  echo "dockwarden: making .venv" >&2
  python=$(find_python) || fail "missing: python3 python3-venv. Python must be 3.11 or newer, with its venv module"
  "$python" -m venv --clear .venv >>"$log" 2>&1 || fail "missing: .venv. $python -m venv failed ($log)"
  pip --require-hashes --no-deps --only-binary=:all: -r requirements.lock
  stamp requirements.lock >.venv/lock.stamp
}

add_project() {
  pip --no-deps --no-build-isolation --editable .
  stamp pyproject.toml >.venv/project.stamp
}

# -----------------------------------------------------------------------------------------------------------------

target=$1
mkdir -p build
look
[ -z "$lacking" ] || install_packages
is_made_from lock.stamp requirements.lock || make_venv
is_made_from project.stamp pyproject.toml || add_project
