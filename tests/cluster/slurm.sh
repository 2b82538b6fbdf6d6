#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests: no container, no systemd, all it writes in one folder.
#     apt-get install --no-install-recommends slurm-wlm munge        (as root, Debian)
#     tests/cluster/slurm.sh start DIR     starts munged, slurmctld and slurmd, and waits until the node is idle
#     export SLURM_CONF=DIR/slurm.conf PATH=DIR/bin:$PATH; sinfo
#     tests/cluster/slurm.sh stop DIR
# The node claims eight cores and one GPU, whatever the machine has: jobs are placed as on a larger one.
set -euo pipefail

usage="usage: $0 start|stop DIR"
action=${1:?$usage}
folder=$(realpath --canonicalize-missing "${2:?$usage}")
node=$(hostname --short)
export SLURM_CONF=$folder/slurm.conf

stop() {
    for daemon in slurmd slurmctld munged; do
        if [ -s "$folder/$daemon.pid" ]; then
            kill "$(cat "$folder/$daemon.pid")" 2>/dev/null || true
        fi
    done
}

configure() {
    mkdir -p "$folder"/state "$folder"/spool "$folder"/bin
    chmod 755 "$folder"
    dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none
    chmod 400 "$folder/munge.key"
    # Snakemake takes SLURM_CONF away from srun inside a job, and expects the configuration in its usual place.
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$folder/bin/srun"
    chmod 755 "$folder/bin/srun"
    # Nothing here uses control groups, but slurmd loads their plugin, which would ask systemd.
    echo "IgnoreSystemd=yes" > "$folder/cgroup.conf"
    echo "Name=gpu Count=1 File=/dev/null" > "$folder/gres.conf"
    cat > "$SLURM_CONF" <<CONF
ClusterName=one-node
SlurmctldHost=$node
SlurmUser=$(id --user --name)
SlurmdUser=$(id --user --name)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmctldPort=${SLURM_PORT:-16817}
SlurmdPort=$((${SLURM_PORT:-16817} + 1))
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
}

start() {
    configure
    munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    if slurmctld && slurmd; then
        for _ in $(seq 60); do
            if [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; then return; fi
            sleep 1
        done
    fi
    for log in "$folder"/*.log; do tail -n 10 "$log" >&2; done
    stop
    echo "Slurm did not come up; its logs are in $folder" >&2
    exit 1
}

case $action in
    start) start ;;
    stop) stop ;;
    *) echo "$usage" >&2; exit 2 ;;
esac
