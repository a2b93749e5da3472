"""`python -m benchmarks`: every benchmark, one after the other. `CKPT_BENCH_ROUNDS` sets the rounds of each."""

from benchmarks import checked, convert, load, minillm, start_up, verify

for job in (start_up, load, verify, convert, checked, minillm):
    job.main()
