package parti

// Option sets an optional collaborator of a [Manager].
type Option func(*options)

type options struct {
	hooks   Hooks
	logger  Logger
	metrics MetricsCollector
	agent   ElectionAgent
	updater WorkerConsumerUpdater
}

// newOptions applies opts to the defaults, which log and measure nothing.
func newOptions(opts []Option) options {
	o := options{logger: nopLogger{}, metrics: NopMetrics{}}
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	// A nil pointer in an interface is nobody to call.
	if isNil(o.logger) {
		o.logger = nopLogger{}
	}
	if isNil(o.metrics) {
		o.metrics = NopMetrics{}
	}
	if isNil(o.agent) {
		o.agent = nil
	}
	if isNil(o.updater) {
		o.updater = nil
	}
	return o
}

// WithHooks sets the callbacks; nil means none. The struct is copied.
func WithHooks(h *Hooks) Option {
	return func(o *options) {
		if h != nil {
			o.hooks = *h
		}
	}
}

// WithLogger sets the logger; nil, like the default, logs nothing.
func WithLogger(l Logger) Option {
	return func(o *options) {
		if l != nil {
			o.logger = l
		}
	}
}

// WithMetrics sets the metrics collector; nil, like the default, collects
// nothing.
func WithMetrics(m MetricsCollector) Option {
	return func(o *options) {
		if m != nil {
			o.metrics = m
		}
	}
}

// WithElectionAgent lets an external agent decide which worker may lead. The
// default, nil, elects in NATS alone, which is safe in production too.
func WithElectionAgent(a ElectionAgent) Option {
	return func(o *options) { o.agent = a }
}

// WithWorkerConsumerUpdater sets what is told the partitions to consume, such as
// one that keeps JetStream consumers.
func WithWorkerConsumerUpdater(u WorkerConsumerUpdater) Option {
	return func(o *options) { o.updater = u }
}
