"""Several ranks in one process: threads that meet at a store in memory, as processes meet at torchrun's."""

from concurrent.futures import ThreadPoolExecutor

from torch.distributed import HashStore

from ckpt_core.storage.ranks.torchrun import StoreRanks


def in_ranks(world, work):
    """What `work(ranks)` returns, or the error that it raises, at each rank."""
    store = HashStore()

    def at(rank):
        ranks = StoreRanks(store, rank, world)
        try:
            return work(ranks)
        except Exception as error:
            return ranks.fail(error)
        finally:
            ranks.stop_watching()

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(at, range(world)))
