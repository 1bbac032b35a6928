# What a host has, one key=value line each. Changes nothing that lasts; needs root for the kernel's answers.
# Arguments: the state directory, the python that hostd runs on.
state=$1 python=$2

say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n\r' '  ')"; }
have() { command -v "$1" 2>/dev/null; }
try() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }

say arch "$(uname -m)"
say kernel "$(uname -r)"
say hostname "$(uname -n)"
for file in /etc/os-release /usr/lib/os-release; do
    [ -r "$file" ] && { say distribution "$(. "$file"; echo "$ID")"; say release "$(. "$file"; echo "$PRETTY_NAME")"; break; }
done
say packager "$(basename "$(have apt-get || have dnf || echo none)")"
[ -d /run/systemd/system ] && say init systemd || say init other
say machine_id "$(cat /etc/machine-id 2>/dev/null)"
say clock "$(date +%s)"

if [ -x "$python" ]; then
    say python "$("$python" -I -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>&1)"
    say libvirt_module "$(try "$python" -I -c 'import libvirt')"
    say nbd_module "$(try "$python" -I -c 'import nbd')"
    # What the running libvirtd says; an empty answer leaves open whether it could be started.
    say libvirt "$(timeout 15 "$python" -I -c '
import libvirt
libvirt.registerErrorHandler(lambda *_: None, None)
version = libvirt.open("qemu:///system").getLibVersion()
print(f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}")' 2>/dev/null)"
    # Which cloud holds this host already. The daemon locks its journal, so a copy is read.
    copy=$(mktemp -d)
    cp -- "$state/journal.db" "$copy" 2>/dev/null && cp -- "$state/journal.db-wal" "$copy" 2>/dev/null
    say cloud "$("$python" -I -c '
import os, sqlite3, sys
if os.path.exists(sys.argv[1]):
    row = sqlite3.connect(sys.argv[1]).execute("SELECT value FROM meta WHERE key = ?", ("cloud",)).fetchone()
    print(row[0] if row else "")' "$copy/journal.db" 2>/dev/null)"
    rm -rf -- "$copy"
fi
say libvirtd "$(have libvirtd || have virtqemud)"
qemu=$(have "qemu-system-$(uname -m)")
[ -z "$qemu" ] && [ -x /usr/libexec/qemu-kvm ] && qemu=/usr/libexec/qemu-kvm
say qemu "$([ -n "$qemu" ] && "$qemu" --version 2>/dev/null | sed -n '1s/.*version \([0-9.]*\).*/\1/p')"
for tool in qemu-img qemu-nbd mkfs.ext4 mkfs.vfat mkfs.ntfs mkswap prlimit nsenter dnsmasq nft ip \
    mount.nfs lvs thin_delta rbd; do
    say "$tool" "$(have "$tool")"
done
# QEMU's drivers of network disks are files of their own.
for driver in iscsi rbd; do
    say "block-$driver" "$(ls /usr/lib/*/qemu/block-$driver.so /usr/lib64/qemu*/block-$driver.so 2>/dev/null | head -n 1)"
done

# Each in a network namespace that is gone with the command.
say netns "$(try unshare -n true)"
link() { try unshare -n ip link add test0 type "$@"; }
if [ -n "$(have ip)" ]; then
    say bridge "$(link bridge)"
    say veth "$(link veth peer name test1)"
    say vxlan "$(link vxlan id 1 dstport 4789)"
    say tun "$(try unshare -n ip tuntap add test0 mode tap)"
fi
[ -n "$(have nft)" ] && say nf_tables "$(try unshare -n nft add table inet test)"
{ [ -r /dev/kvm ] && [ -w /dev/kvm ] && say kvm yes; } || say kvm no

where=$state
while [ ! -d "$where" ]; do where=$(dirname "$where"); done
say free_kib "$(df -Pk "$where" | awk 'NR == 2 {print $4}')"

# What sshd will do with a key of root's. Without an answer, its defaults are taken.
sshd=$(have sshd || echo /usr/sbin/sshd)
effective=$("$sshd" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null)
field() { printf '%s\n' "$effective" | sed -n "s/^$1 //p" | head -n 1; }
say authorized_keys_file "$(field authorizedkeysfile)"
say permit_root_login "$(field permitrootlogin)"
say pubkey_authentication "$(field pubkeyauthentication)"
home=$(getent passwd root | cut -d: -f6)
say root_home "${home:-/root}"
