"""The harmless half of the table of verdicts.

It has what is data, and what is inert or pure.

A name is held by the module that pickles say it is in; what a module merely imports is not covered, and neither is what
lies below it. Checked against torch, transformers, accelerate and peft: no `__new__`, `__setstate__` or `__setattr__`
of these opens, runs, connects or imports, and what is also called has an `__init__` that does not either.
"""

DATA: dict[str, str] = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple type "
    "Ellipsis NotImplemented",
    "argparse": "Namespace",
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "random": "Random",
    "types": "NoneType SimpleNamespace",
    "uuid": "SafeUUID UUID",
    "numpy": "bool bool_ bytes_ complex128 complex256 complex64 float128 float16 float32 float64 int16 int32 int64 "
    "int8 longlong matrix ndarray object_ recarray str_ uint16 uint32 uint64 uint8 ulonglong void",
    "numpy.ma.core": "MaskedArray MaskedConstant _mareconstruct",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "numpy.rec": "recarray",
    "torch": "Generator Tensor Size device finfo iinfo preserve_format contiguous_format channels_last "
    "channels_last_3d strided jagged sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc _mkldnn per_tensor_affine "
    "per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams",
    "torch._dynamo.decorators": "_DimRange",
    "torch.distributed._shard.checkpoint.filesystem": "_StorageInfo _StoragePrefix",
    "torch.distributed._shard.checkpoint.metadata": "MetadataIndex _MEM_FORMAT_ENCODING",
    "torch.distributed._shard.sharded_tensor.metadata": "MEM_FORMAT_ENCODING",
    "torch.distributed.checkpoint.filesystem": "_StorageInfo _StoragePrefix",
    "torch.distributed.checkpoint.metadata": "MetadataIndex _MEM_FORMAT_ENCODING",
    "torch.distributed.remote_device": "_remote_device",
    "torch.distributed.tensor._dtensor_spec": "ShardOrderEntry TensorMeta",
    "torch.nn.parameter": "Buffer Parameter",
    "torch.serialization": "_get_layout",
    "torch.torch_version": "TorchVersion",
    "deepspeed.checkpoint.universal_checkpoint": "SubparamShape",
    "deepspeed.runtime.fp16.loss_scaler": "DynamicLossScaler LossScaler",
    "deepspeed.runtime.zero.config": "ZeroStageEnum",
    "deepspeed.utils.tensor_fragment": "fragment_address",
}
"""Names of data by their module, also where they are called."""

_PLACEMENTS = "Partial Placement Replicate Shard _MaskPartial _Partial _StridedShard"
_SPECS = "ChunkShardingSpec DevicePlacementSpec EnumerableShardingSpec PlacementSpec ShardingSpec"
_SHARDED = "Shard ShardMetadata ShardedTensor ShardedTensorBase ShardedTensorMetadata TensorProperties"

_TABLES = "BytesStorageMetadata ChunkStorageMetadata Metadata StorageMeta TensorProperties TensorStorageMetadata"

RESTORED_DATA: dict[str, str] = {
    "torch.distributed._shard.checkpoint.metadata": _TABLES,
    "torch.distributed._shard.metadata": "ShardMetadata",
    "torch.distributed._shard.sharded_tensor": _SHARDED,
    "torch.distributed._shard.sharded_tensor.api": f"{_SHARDED} ShardedTensor.ProcessGroupState",
    "torch.distributed._shard.sharded_tensor.metadata": _SHARDED,
    "torch.distributed._shard.sharded_tensor.shard": "Shard",
    "torch.distributed._shard.sharding_spec": _SPECS,
    "torch.distributed._shard.sharding_spec._internals": _SPECS,
    "torch.distributed._shard.sharding_spec.api": _SPECS,
    "torch.distributed._shard.sharding_spec.chunk_sharding_spec": _SPECS,
    "torch.distributed._tensor": "DTensor DeviceMesh",
    "torch.distributed._tensor.api": "DTensor",
    "torch.distributed._tensor.device_mesh": "DeviceMesh",
    "torch.distributed._tensor.placement_types": f"DTensorSpec TensorMeta {_PLACEMENTS}",
    "torch.distributed._mesh_layout": "_FlatLayout _MeshLayout",
    "torch.distributed.checkpoint.metadata": _TABLES,
    "torch.distributed.device_mesh": "DeviceMesh _FlatLayout _MeshLayout",
    "torch.distributed.tensor": "DTensor",
    "torch.distributed.tensor._api": "DTensor",
    "torch.distributed.tensor._dtensor_spec": "DTensorSpec",
    "torch.distributed.tensor._shards_wrapper": "LocalShardsWrapper",
    "torch.distributed.tensor.placement_types": _PLACEMENTS,
    "torch.nn.parameter": "UninitializedBuffer UninitializedParameter",
    "torch.storage": "TypedStorage UntypedStorage _LegacyStorage",
}
"""Classes of data by their module, where an object is restored and not made by a call: that may set up processes."""

HARMLESS: dict[str, str] = {
    "_codecs": "encode",
    "_io": "BytesIO StringIO",
    "array": "array _array_reconstructor",
    "io": "BytesIO StringIO",
    "ipaddress": "IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network",
    "logging": "getLogger",
    "time": "struct_time",
    "types": "GenericAlias MappingProxyType",
    "zoneinfo": "ZoneInfo ZoneInfo._unpickle",
    "torch.amp.grad_scaler": "OptState",
    "torch.nn.modules.module": "_IncompatibleKeys",
    "torch.nn.utils.rnn": "PackedSequence PackedSequence_",
    "torch.return_types": "aminmax cummax cummin frexp geqrf histogram histogramdd kthvalue linalg_cholesky_ex "
    "linalg_eig linalg_eigh linalg_inv_ex linalg_ldl_factor linalg_ldl_factor_ex linalg_lstsq linalg_lu "
    "linalg_lu_factor linalg_lu_factor_ex linalg_qr linalg_slogdet linalg_solve_ex linalg_svd lu_unpack max median "
    "min mode nanmedian qr slogdet sort svd symeig topk triangular_solve",
    "accelerate.utils.dataclasses": "ComputeEnvironment CustomDtype DDPCommunicationHookType DistributedType "
    "DynamoBackend FP8BackendType LoggerType PrecisionType RNGType SageMakerDistributedType",
    "peft.utils.peft_types": "PeftType TaskType",
    "transformers.debug_utils": "DebugOption",
    "transformers.trainer_utils": "BestRun EvaluationStrategy EvalLoopOutput FSDPOption HPSearchBackend HubStrategy "
    "IntervalStrategy PredictionOutput SaveStrategy SchedulerType ShardedDDPOption TrainOutput",
    "transformers.training_args": "OptimizerNames ParallelMode",
}
"""Names by their module, also where they are called."""

INERT: dict[str, str] = {
    "builtins": "abs all any ascii bin callable chr divmod enumerate hash hex isinstance issubclass len max min oct "
    "ord pow repr reversed round sorted sum zip",
    "_weakrefset": "WeakSet",
    "contextlib": "nullcontext",
    "dataclasses": "Field InitVar MISSING _HAS_DEFAULT_FACTORY_CLASS _MISSING_TYPE",
    "operator": "abs add and_ concat contains eq floordiv ge gt index inv invert is_ is_not le lshift lt matmul mod "
    "mul ne neg not_ or_ pos pow rshift sub truediv truth xor",
    "optparse": "Values",
    "time": "monotonic perf_counter process_time time",
    "types": "UnionType",
    "numpy": "abs absolute add amax amin arange array asarray ceil clip concatenate cos dot exp expand_dims floor "
    "isfinite isinf isnan log log10 log2 max maximum mean median min minimum multiply ones prod round sign sin sqrt "
    "square stack std subtract sum tanh var where zeros",
    "torch": "abs add bmm cat ceil clamp cos div eq erf exp exp2 flatten floor log log10 log2 log_softmax logsumexp "
    "matmul max maximum mean min minimum mul neg norm ones pow relu relu_ round rsqrt selu sigmoid sign sin softmax "
    "sqrt square squeeze stack std sub sum tanh unsqueeze var where zeros",
    "torch._C._nn": "elu gelu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid mish relu6 silu softplus",
    "torch.amp.grad_scaler": "GradScaler",
    "torch.cuda.amp.grad_scaler": "GradScaler OptState",
    "torch.nn.functional": "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
    "adaptive_max_pool2d adaptive_max_pool3d alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear "
    "binary_cross_entropy binary_cross_entropy_with_logits celu celu_ conv1d conv2d conv3d cosine_embedding_loss "
    "cosine_similarity cross_entropy ctc_loss dropout dropout1d dropout2d dropout3d elu elu_ embedding embedding_bag "
    "feature_alpha_dropout fold gaussian_nll_loss gelu glu grid_sample group_norm gumbel_softmax hardshrink "
    "hardsigmoid hardswish hardtanh hardtanh_ hinge_embedding_loss huber_loss instance_norm interpolate kl_div "
    "l1_loss layer_norm leaky_relu leaky_relu_ linear local_response_norm log_softmax logsigmoid lp_pool1d lp_pool2d "
    "margin_ranking_loss max_pool1d max_pool2d max_pool3d mish mse_loss multi_margin_loss nll_loss normalize one_hot "
    "pad pairwise_distance pixel_shuffle pixel_unshuffle poisson_nll_loss prelu relu relu6 relu_ rms_norm rrelu "
    "rrelu_ scaled_dot_product_attention selu selu_ sigmoid silu smooth_l1_loss soft_margin_loss softmax softmin "
    "softplus softshrink softsign tanh tanhshrink threshold threshold_ triplet_margin_loss unfold upsample",
    "torch.nn.modules.batchnorm": "_BatchNorm _NormBase",
    "torch.nn.utils.parametrizations": "_Orthogonal _SpectralNorm _WeightNorm",
    "torch.nn.utils.parametrize": "ParametrizationList",
    "torch.nn.utils.spectral_norm": "SpectralNorm SpectralNormLoadStateDictPreHook SpectralNormStateDictHook",
    "torch.nn.utils.weight_norm": "WeightNorm",
    "accelerate.state": "AcceleratorState GradientState PartialState",
    "accelerate.utils.dataclasses": "DataLoaderConfiguration DeepSpeedPlugin FullyShardedDataParallelPlugin "
    "GradientAccumulationPlugin MegatronLMPlugin ProjectConfiguration TorchDynamoPlugin",
    "addict.addict": "Dict",
    "easydict": "EasyDict",
    "fvcore.common.config": "CfgNode",
    "lightning.fabric.utilities.data": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "lightning.pytorch.utilities.parsing": "AttributeDict",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "ml_collections.config_dict.config_dict": "ConfigDict FieldReference FrozenConfigDict",
    "mmengine.config.config": "Config ConfigDict",
    "omegaconf.base": "Box Container ContainerMetadata Metadata Node SCMode UnionNode",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode BytesNode EnumNode FloatNode IntegerNode PathNode StringNode ValueNode",
    "peft.tuners.lora.config": "CordaConfig EvaConfig LoftQConfig LoraConfig LoraRuntimeConfig",
    "transformers.trainer_pt_utils": "AcceleratorConfig",
    "transformers.training_args": "TrainingArguments",
    "transformers.training_args_seq2seq": "Seq2SeqTrainingArguments",
    "yacs.config": "CfgNode",
}
"""Names by their module, where they are named, or an object is restored: a call of them is unknown."""

INERT_MODULES = """
    collections.abc enum numbers numpy.dtypes typing typing_extensions torch.utils.data.dataset
    torch.utils.data.sampler
    torch.distributions.bernoulli torch.distributions.beta torch.distributions.binomial torch.distributions.categorical
    torch.distributions.cauchy torch.distributions.dirichlet torch.distributions.exponential torch.distributions.gamma
    torch.distributions.geometric torch.distributions.gumbel torch.distributions.half_normal
    torch.distributions.independent torch.distributions.laplace torch.distributions.log_normal
    torch.distributions.lowrank_multivariate_normal torch.distributions.mixture_same_family
    torch.distributions.multinomial torch.distributions.multivariate_normal torch.distributions.normal
    torch.distributions.poisson torch.distributions.transformed_distribution torch.distributions.transforms
    torch.distributions.uniform
    torch.nn.modules.activation torch.nn.modules.adaptive torch.nn.modules.batchnorm torch.nn.modules.channelshuffle
    torch.nn.modules.container torch.nn.modules.conv torch.nn.modules.distance torch.nn.modules.dropout
    torch.nn.modules.flatten torch.nn.modules.fold torch.nn.modules.instancenorm torch.nn.modules.linear
    torch.nn.modules.loss torch.nn.modules.module torch.nn.modules.normalization torch.nn.modules.padding
    torch.nn.modules.pixelshuffle torch.nn.modules.pooling torch.nn.modules.rnn torch.nn.modules.sparse
    torch.nn.modules.transformer torch.nn.modules.upsampling torch.nn.utils.prune
    torch.optim._adafactor torch.optim._muon torch.optim.adadelta torch.optim.adagrad torch.optim.adam
    torch.optim.adamax torch.optim.adamw torch.optim.asgd torch.optim.lbfgs torch.optim.lr_scheduler torch.optim.nadam
    torch.optim.optimizer torch.optim.radam torch.optim.rmsprop torch.optim.rprop torch.optim.sgd
    torch.optim.sparse_adam torch.optim.swa_utils
"""
"""Modules, each alone, whose public classes are inert in the same way."""

PURE_MODULES = "cmath math"
"""Modules that have nothing but pure functions; a call of one is unknown."""

BUILTIN_ERRORS = "ArithmeticError AssertionError AttributeError BaseException Exception ImportError IndexError IOError \
KeyError KeyboardInterrupt LookupError MemoryError NameError NotImplementedError OSError OverflowError RuntimeError \
RuntimeWarning StopIteration SystemError TimeoutError TypeError UserWarning ValueError Warning ZeroDivisionError \
DeprecationWarning FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit InterruptedError \
IsADirectoryError ModuleNotFoundError NotADirectoryError PermissionError ProcessLookupError RecursionError \
ReferenceError ResourceWarning StopAsyncIteration SyntaxError SystemExit UnicodeDecodeError UnicodeEncodeError \
UnicodeError EOFError ConnectionError ConnectionResetError BrokenPipeError BlockingIOError ChildProcessError"
"""Python's exceptions, which are objects like others until they are raised."""
