# shellcheck shell=bash disable=SC2154
# Sourced after common.sh: a virtual machine of Debian 12 with systemd, cgroup v2 and AppArmor, in steps for use alone.
#
#   make_wheels FOLDER       what pip would fetch: there is no network in the guest
#   make_root ROOT WHEELS    the guest's files, set up by scripts/setup
#   make_disk DISK ROOT      those as an image, which a boot never changes
#   boot MACHINE JOB LIMIT   run a job in it to its end, and give its output: the guest's second serial line
#
# A job is a tar archive with a bash script `run` in it: it is unpacked and run as root, then the machine goes down.

suite=bookworm
guest_python=3.11
guest_checkout=/srv/jailkit
# A machine that boots and can be managed; scripts/setup installs what jailkit and its tests need.
guest_packages=(
    apparmor dbus dbus-user-session iproute2 kmod libpam-systemd linux-image-cloud-amd64 openssh-server rsync sudo
    systemd-sysv udev
)

# The machine is as its recipe: these functions and files, and what is above.
recipe() {
    declare -p suite guest_python guest_checkout guest_packages
    declare -f make_wheels make_root provision make_disk job_unit requirements files_of
    cat "$checkout/pyproject.toml" "$checkout/scripts/setup" "$checkout/scripts/common.sh"
}

# Give the folder of the machine of this recipe below $1, made if need be: `disk`, `kernel` and `initrd`.
machine() {
    local cache=$1 folder made
    folder=$cache/machine-$(recipe | sha256sum | cut -c 1-16)
    if [[ ! -d $folder ]]; then
        mkdir -p "$cache"
        rm -rf "$cache"/machine-*
        made=$(mktemp -d "$cache/making.XXXXXXXX")
        say "Making a machine: ${folder##*/}" >&2
        make_wheels "$made/wheels" >&2
        make_root "$made/root" "$made/wheels" >&2
        make_disk "$made/disk" "$made/root" >&2
        cp -L "$made/root/vmlinuz" "$made/kernel"
        cp -L "$made/root/initrd.img" "$made/initrd"
        # Nothing is mounted below: mmdebstrap mounts in a namespace of its own.
        rm -rf --one-file-system "$made/root" "$made/wheels"
        mv -T "$made" "$folder"
    fi
    say "$folder"
}

make_wheels() {
    local wanted
    mapfile -t wanted < <(requirements)
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip download --quiet --dest "$1" \
        --python-version "$guest_python" --only-binary=:all: "${wanted[@]}" ||
        fail "pip could not fetch what the guest needs" "the lines above say why"
}

# What scripts/setup --test gives to pip.
requirements() {
    "$venv/bin/python" -c 'import sys, tomllib
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)
extra = project["project"]["optional-dependencies"]["dev"]
print(*project["build-system"]["requires"], "editables", *project["project"]["dependencies"], *extra, sep="\n")' \
        "$checkout/pyproject.toml"
}

make_root() {
    local root=$1 wheels=$2 packages
    packages=$(IFS=, && say "${guest_packages[*]}")
    files_of "$checkout" >"$wheels.tar"
    # The second hook is run by mmdebstrap while apt works in the root; $1 is then the root.
    # shellcheck disable=SC2016
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
        --customize-hook="mkdir -p \"\$1$guest_checkout\" \"\$1/run/wheels\"" \
        --customize-hook="tar-in '$wheels.tar' '$guest_checkout'" \
        --customize-hook="sync-in '$wheels' /run/wheels" \
        --customize-hook='chroot "$1" env PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=/run/wheels \
            '"$guest_checkout"'/scripts/setup --test' \
        "$suite" "$root" || fail "mmdebstrap could not make the guest's files" "the lines above say why"
    rm -f "$wheels.tar"
    provision "$root"
}

# The files of a checkout that git knows or would add.
files_of() {
    git -C "$1" ls-files -z --cached --others --exclude-standard |
        (cd "$1" && tar --create --ignore-failed-read --null --files-from=- --owner=0 --group=0)
}

provision() {
    local root=$1
    # Without an identity systemd takes each boot for the first, and enables the servers that scripts/setup disabled.
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    say jailkit-vm >"$root/etc/hostname"
    printf '127.0.0.1 localhost jailkit-vm\n::1 localhost\n' >"$root/etc/hosts"
    : >"$root/etc/resolv.conf"
    job_unit >"$root/etc/systemd/system/jailkit-job.service"
}

# Started by the kernel's command line alone (systemd.wants=): it does nothing in a machine that is booted otherwise.
job_unit() {
    cat <<'UNIT'
[Unit]
Description=The job on the second disk
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
RuntimeDirectory=jailkit-job
WorkingDirectory=/run/jailkit-job
Environment=HOME=/root LANG=C.UTF-8
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
ExecStart=tar --extract --file /dev/vdb
ExecStart=bash run
UNIT
}

# Sparse, and with room for the tests. mke2fs needs no mount to fill it.
make_disk() {
    local disk=$1 root=$2 used
    used=$(du --summarize --block-size=1M "$root" | cut -f 1)
    truncate --size="$((used + 4096))M" "$disk"
    mkfs.ext4 -q -L root -d "$root" "$disk"
}

# Emulated, because /dev/kvm tells too little: where machines are nested it may open and then hang. What the kernel does
# against flaws of real processors only costs time then.
boot() {
    local machine=$1 job=$2 limit=$3
    timeout "$limit" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 -no-reboot -nodefaults -display none -nic none \
        -device virtio-rng-pci \
        -kernel "$machine/kernel" -initrd "$machine/initrd" \
        -append "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off systemd.wants=jailkit-job.service" \
        -drive "file=$machine/disk,format=raw,if=virtio,cache=unsafe,snapshot=on" \
        -drive "file=$job,format=raw,if=virtio,readonly=on" \
        -serial "file:$job.console" -serial stdio </dev/null
}
