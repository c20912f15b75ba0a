# shellcheck shell=bash
# Selects how jobs are started. All launchers have the same command line,
#   $train_cmd [--gpu N] [--mem 4G] [--num-threads N] [JOB=1:N] LOG COMMAND ...
# so stages work with any of them.
#
#   cmd_backend=local   this machine, one job per CPU or GPU at a time
#   cmd_backend=slurm   a Slurm cluster; partitions, accounts and time limits of your site go
#                       into conf/slurm.conf (see `slurm.py --help`)
#
# Change the line below, or export cmd_backend or any of the commands before you run a recipe.
cmd_backend=${cmd_backend:-local}

case $cmd_backend in
    local)
        # Models that are trained in parallel share all CPUs; other jobs have one CPU each.
        _cpus=$(($(getconf _NPROCESSORS_ONLN) / ${model_nj:-1}))
        [[ $_cpus -gt 0 ]] || _cpus=1
        : "${train_cmd:=run.py}"
        : "${cuda_cmd:=run.py --num-threads $_cpus}"
        : "${extract_cmd:=run.py}"
        : "${eval_cmd:=run.py --num-threads $_cpus}" ;;
    slurm)
        : "${train_cmd:=slurm.py --mem 4G}"
        : "${cuda_cmd:=slurm.py --mem 32G --num-threads 8}"
        : "${extract_cmd:=slurm.py --mem 4G}"
        : "${eval_cmd:=slurm.py --mem 16G --num-threads 4}" ;;
    *)
        echo "cmd.sh: cmd_backend is '$cmd_backend'; choose local or slurm" >&2
        return 2 ;;
esac
# train_cmd: data preparation and formatting; cuda_cmd: pre-training; extract_cmd: features and
# embeddings; eval_cmd: evaluation.
export cmd_backend train_cmd cuda_cmd extract_cmd eval_cmd
unset _cpus
