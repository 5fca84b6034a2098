# Takes away what one run of the lab has made: its namespaces, the processes in them, its folder.
# $1: the run's name, $2: its folder.
run=$1 folder=$2
for namespace in $(ip netns list | cut -d ' ' -f 1); do
    case $namespace in "$run"-*) ;; *) continue ;; esac
    for pid in $(ip netns pids "$namespace"); do
        kill -9 "$pid" 2>/dev/null
    done
    ip netns del "$namespace"
done
rm -rf -- "$folder"
