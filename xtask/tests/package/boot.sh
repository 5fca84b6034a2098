# Boots a Debian machine from a root file system that stays as it is: boot.sh BASE FOLDER NAME ADDRESS...
#
# Runs in namespaces of its own for mounts, processes, names and IPC, as the first process of them, in the network that it
# finds; these are addresses of its loopback. What the machine writes is kept in memory, and goes with it.
set -eu
base=$1 folder=$2 name=$3
shift 3

if [ "${SWITCHYARD_CONTROL_GROUP:-}" != "$name" ]; then
    # systemd wants a control group of its own at the root of what it sees.
    mount --make-rprivate /
    mkdir -p "$folder/groups"
    mount -t cgroup2 none "$folder/groups"
    mkdir -p "$folder/groups/$name"
    echo 0 >"$folder/groups/$name/cgroup.procs"
    umount "$folder/groups"
    SWITCHYARD_CONTROL_GROUP=$name exec unshare --cgroup sh "$0" "$base" "$folder" "$name" "$@"
fi

mount -t tmpfs -o mode=0755,size=2g tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=$base,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=0755 tmpfs dev
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    # shellcheck disable=SC2086
    set -- $device "$@"
    mknod -m 0666 "dev/$1" c "$2" "$3"
    shift 3
done
ln -s /proc/self/fd dev/fd
mkdir dev/net dev/pts dev/shm
# For tunnels of programs, wireguard-go's.
mknod -m 0600 dev/net/tun c 10 200
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm

ip link set lo up
for address in "$@"; do
    ip address add "$address/24" dev lo
done
hostname "$name"
cp /etc/resolv.conf etc/resolv.conf

mkdir -p old
pivot_root . old
umount -l /old
rmdir /old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console --log-level=notice
