"""A recorded host that `bench ab` takes through its boots: kexec and systemd are scripts.

kexec keeps the command line for the next boot. With the reboot the "host goes down": the process that asked
for it is killed, the command line is another one, and the kernel log is that of a boot with or without
pseudo-NMI. Nothing outside of the tree changes.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.drillable_host import make_drillable, write

ENABLED = b"GICv3: Pseudo-NMIs enabled"
OTHER = b"random: crng init done now"
ORIGINAL = "root=/dev/vda ro\n"
KEXEC = """#!/bin/sh
case "$1" in
--load)
    for word; do
        case "$word" in --command-line=*)
            printf '%s\\n' "${word#--command-line=}" > TREE/loading && /bin/mv TREE/loading TREE/loaded ;;
        esac
    done ;;
--unload) [ -e TREE/loaded ] && /bin/rm TREE/loaded ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
boot() {
    printf '%s\\n' "$1" > TREE/proc/cmdline
    /bin/rm -f TREE/loaded
    case "$1" in
    *gicv3_pseudo_nmi=1*) /bin/cp TREE/kmsg.on TREE/kmsg.txt ;;
    *) /bin/cp TREE/kmsg.off TREE/kmsg.txt ;;
    esac
    # Only the runner of this test has its directory in its arguments.
    /bin/grep -q PLACE /proc/$PPID/cmdline && kill -9 $PPID
}
case "$1" in
is-enabled) echo enabled ;;
kexec)
    # sdeictl may unload the kernel at the same time. systemd then reboots in the usual way.
    /bin/mv TREE/loaded TREE/taken 2> /dev/null || /bin/cp TREE/original TREE/taken
    read -r line < TREE/taken
    boot "$line" ;;
reboot) read -r line < TREE/original; boot "$line" ;;
esac
"""


def make_bootable(place: Path) -> Path:
    """Return PLACE/host, a tree on which nothing but the missing arming speaks against `bench ab`."""
    tree = make_drillable(place, "dt-pnmi")
    release = (tree / "proc/version").read_text().split()[2]
    write(tree / "proc/sys/kernel/panic", "10\n")
    write(tree / "proc/cmdline", ORIGINAL)
    write(tree / "original", ORIGINAL)
    for name in (f"vmlinuz-{release}", f"initrd.img-{release}"):
        write(tree / "boot" / name, "")
    for directory in ("run/systemd/system", "sys/firmware/efi"):
        (tree / directory).mkdir(parents=True)
    log = (tree / "kmsg.txt").read_bytes()
    assert ENABLED in log
    (tree / "kmsg.on").write_bytes(log)
    lines = [b",-;".join([line.partition(b";")[0].rpartition(b",")[0], OTHER]) if ENABLED in line else line
             for line in log.splitlines()]  # fmt: skip
    (tree / "kmsg.off").write_bytes(b"\n".join(lines) + b"\n")
    (tree / "kmsg.txt").write_bytes((tree / "kmsg.off").read_bytes())
    for name, script in (("kexec", KEXEC), ("systemctl", SYSTEMCTL), ("sdeictl", "#!/bin/sh\n")):
        program = tree / "usr/bin" / name
        write(program, script.replace("TREE", str(tree)).replace("PLACE", str(place)))
        program.chmod(0o755)
    return tree
