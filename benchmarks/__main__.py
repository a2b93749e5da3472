"""`python -m benchmarks`: every benchmark, one after the other. `CKPT_BENCH_ROUNDS` sets the rounds of each."""

from benchmarks import checked, convert, load, minillm, remote_read, start_up, verify

for job in (start_up, load, verify, convert, checked, minillm, remote_read):
    job.main()
