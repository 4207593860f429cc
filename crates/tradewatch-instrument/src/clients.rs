//! Calls to databases, caches and brokers: what was asked, how long it took, how it ended.
//!
//! One registration for all clients of a process, in either vocabulary; handles name what is called. The wrappers of
//! the client libraries (`postgres`, `redis` …) use these handles, and so does a
//! service whose client has no wrapper.

use tradewatch_metrics::{
    Counter, Gauge, GaugeHandle, Histogram, InFlight, Label, Metrics, RegisterError, Registry, open_label,
};

use crate::labels::{ErrorType, Optional, ServiceName, Vocabulary};
use crate::running::{End, Running};

/// What is called.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "db_system_name")]
pub enum System {
    /// PostgreSQL.
    Postgresql,
    /// SQLite.
    Sqlite,
    /// Redis.
    Redis,
    /// Another.
    Other,
}

/// The kind of broker.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "messaging_system")]
pub enum Broker {
    /// RabbitMQ.
    Rabbitmq,
    /// Kafka, or what speaks its protocol.
    Kafka,
}

#[derive(Label, Clone, Copy)]
#[label(name = "messaging_operation_name")]
enum MessagingOperation {
    Publish,
    Consume,
    Process,
}

#[derive(Label, Clone, Copy)]
#[label(name = "db_client_connection_state")]
enum ConnectionState {
    Used,
}

open_label!(struct Database_("database"), budget = 16);
open_label!(struct QueryType("query_type"), budget = 32);
open_label!(struct Operation("operation"), budget = 48);
open_label!(struct CacheKey("cache_key"), budget = 64);
open_label!(struct Queue("queue"), budget = 64);
open_label!(struct Topic("topic"), budget = 64);
open_label!(struct Group("consumer_group"), budget = 16);
open_label!(struct KafkaError("error"), budget = 32);
open_label!(struct DbNamespace("db_namespace"), budget = 16);
open_label!(struct DbOperation("db_operation_name"), budget = 48);
open_label!(struct PoolName("db_client_connection_pool_name"), budget = 16);
open_label!(struct Destination("messaging_destination_name"), budget = 64);

/// Edges of database calls: the documents' twelve, 1 ms to 10 s.
const DB_EDGES: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Edges of messages.
const MESSAGE_EDGES: [f64; 11] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The documents' names; what they lack for failures is added in their style.
#[derive(Metrics, Clone)]
struct Documents {
    /// Open database connections.
    #[metric(unit = "connections", legacy_name = "the documents and their dashboards name it so")]
    db_connections_total: Gauge<(ServiceName, Database_)>,
    /// Time of a database query, however it ended.
    #[buckets(DB_EDGES)]
    db_query_duration_seconds: Histogram<(ServiceName, QueryType)>,
    /// Database queries that did not succeed, by the kind of error.
    db_query_errors_total: Counter<(ServiceName, ErrorType)>,
    /// Time of a Redis operation, however it ended.
    #[buckets(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)]
    redis_operations_duration_seconds: Histogram<(ServiceName, Operation)>,
    /// Redis operations that did not succeed, by the kind of error.
    redis_operation_errors_total: Counter<(ServiceName, Operation, ErrorType)>,
    /// Messages that RabbitMQ has taken.
    rabbitmq_messages_published_total: Counter<(ServiceName, Queue)>,
    /// Time until RabbitMQ took a message or did not.
    #[buckets(MESSAGE_EDGES)]
    rabbitmq_publish_duration_seconds: Histogram<(ServiceName, Queue)>,
    /// Messages that RabbitMQ did not take, by the kind of error.
    rabbitmq_publish_errors_total: Counter<(ServiceName, Queue, ErrorType)>,
    /// Messages received from RabbitMQ.
    rabbitmq_messages_consumed_total: Counter<(ServiceName, Queue)>,
    /// Failures to receive from RabbitMQ, by the kind of error.
    rabbitmq_consume_errors_total: Counter<(ServiceName, Queue, ErrorType)>,
    /// Time to process a message, however it ended.
    #[buckets(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)]
    rabbitmq_message_processing_duration_seconds: Histogram<(ServiceName, Queue)>,
    /// Messages whose processing did not succeed, by the kind of error.
    rabbitmq_message_processing_errors_total: Counter<(ServiceName, Queue, ErrorType)>,
    /// Records that Kafka has taken.
    kafka_publish_success_total: Counter<(Topic,)>,
    /// Records that Kafka did not take, by the kind of error.
    kafka_publish_failure_total: Counter<(Topic, KafkaError)>,
    /// Time until Kafka took a record or did not.
    #[buckets(MESSAGE_EDGES)]
    kafka_publish_duration_seconds: Histogram<(Topic,)>,
    /// Records received from Kafka.
    kafka_messages_consumed_total: Counter<(Topic, Group)>,
    /// Failures to receive from Kafka, by the kind of error.
    kafka_consume_errors_total: Counter<(Topic, Group, KafkaError)>,
    /// Time to process a record, however it ended.
    #[buckets(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)]
    kafka_message_processing_duration_seconds: Histogram<(Topic, Group)>,
    /// Records whose processing did not succeed, by the kind of error.
    kafka_message_processing_errors_total: Counter<(Topic, Group, KafkaError)>,
    #[metrics(flatten)]
    lookups: Lookups,
}

/// Cache lookups; the semantic conventions have no name for them, so they have one in both vocabularies.
#[derive(Metrics, Clone)]
struct Lookups {
    /// Cache lookups that found a value.
    redis_cache_hits_total: Counter<(ServiceName, CacheKey)>,
    /// Cache lookups that found nothing.
    redis_cache_misses_total: Counter<(ServiceName, CacheKey)>,
}

type DbLabels = (System, Optional<DbNamespace>, DbOperation, Optional<ErrorType>);
type MessageLabels = (Broker, Destination, MessagingOperation, Optional<ErrorType>);

/// The semantic conventions' names. A failure is a series of its own, by `error_type`.
#[derive(Metrics, Clone)]
struct Conventions {
    /// Duration of database client operations.
    #[buckets(DB_EDGES)]
    db_client_operation_duration_seconds: Histogram<DbLabels>,
    /// The number of connections that are in the given state.
    #[metric(legacy_name = "the semantic conventions name it db.client.connection.count")]
    db_client_connection_count: Gauge<(PoolName, ConnectionState)>,
    /// Duration of messaging operations initiated by the client.
    #[buckets(MESSAGE_EDGES)]
    messaging_client_operation_duration_seconds: Histogram<MessageLabels>,
    /// Number of messages the client attempted to send to the broker.
    messaging_client_sent_messages_total: Counter<MessageLabels>,
    /// Number of messages that were delivered to the application.
    messaging_client_consumed_messages_total: Counter<MessageLabels>,
    /// Duration of processing a message.
    #[buckets(MESSAGE_EDGES)]
    messaging_process_duration_seconds: Histogram<MessageLabels>,
    #[metrics(flatten)]
    lookups: Lookups,
}

#[derive(Clone)]
enum Names {
    Documents(Box<Documents>),
    Conventions(Box<Conventions>),
}

/// The metrics of all clients of a process. Cloning shares them.
#[derive(Clone)]
pub struct Clients {
    registry: Registry,
    names: Names,
}

impl Clients {
    /// Registers the families of one vocabulary. Once for each registry.
    ///
    /// # Errors
    /// If they are registered already, or one of their names is taken.
    pub fn register(registry: &Registry, vocabulary: Vocabulary) -> Result<Clients, RegisterError> {
        let names = match vocabulary {
            Vocabulary::Prometheus => Names::Documents(Box::new(Documents::register(registry)?)),
            Vocabulary::OpenTelemetry => Names::Conventions(Box::new(Conventions::register(registry)?)),
        };
        Ok(Clients { registry: registry.clone(), names })
    }

    /// A database, as this service uses it.
    pub fn database(&self, service: &str, system: System, name: &str) -> Database {
        Database { clients: self.clone(), service: ServiceName::intern(service), system, name: name.into() }
    }

    /// A cache, as this service uses it.
    pub fn cache(&self, service: &str) -> Cache {
        Cache { clients: self.clone(), service: ServiceName::intern(service) }
    }

    /// A broker, as this service uses it.
    pub fn broker(&self, service: &str, broker: Broker) -> Messaging {
        Messaging {
            clients: self.clone(),
            service: ServiceName::intern(service),
            broker,
            group: String::new(),
        }
    }

    fn lookups(&self) -> &Lookups {
        match &self.names {
            Names::Documents(m) => &m.lookups,
            Names::Conventions(m) => &m.lookups,
        }
    }

    fn db_operation(&self, system: System, name: &str, operation: &str, end: End) {
        if let Names::Conventions(m) = &self.names {
            let namespace = Optional((!name.is_empty()).then(|| DbNamespace::intern(name)));
            let labels = (system, namespace, DbOperation::intern(operation), Optional(end.error));
            m.db_client_operation_duration_seconds.at(labels).observe_duration(end.took);
        }
    }
}

/// A database as one service uses it.
#[derive(Clone)]
pub struct Database {
    clients: Clients,
    service: ServiceName,
    system: System,
    name: Box<str>,
}

impl Database {
    /// Starts a query of this type: `select`, `insert` …
    pub fn query<'a>(&'a self, kind: &'a str) -> Running<impl FnOnce(End) + 'a> {
        Running::start(self.clients.registry.stopwatch(), move |end| self.record(kind, end))
    }

    fn record(&self, kind: &str, end: End) {
        if let Names::Documents(m) = &self.clients.names {
            let labels = (self.service, QueryType::intern(kind));
            m.db_query_duration_seconds.at(labels).observe_duration(end.took);
            if let Some(error) = end.error {
                m.db_query_errors_total.at((self.service, error)).inc();
            }
        }
        self.clients.db_operation(self.system, &self.name, kind, end);
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> InFlight<'static> {
        let gauge: GaugeHandle<'_> = match &self.clients.names {
            Names::Documents(m) => m.db_connections_total.at((self.service, Database_::intern(&self.name))),
            Names::Conventions(m) => {
                m.db_client_connection_count.at((PoolName::intern(&self.name), ConnectionState::Used))
            }
        };
        gauge.track().into_owned()
    }
}

/// A cache as one service uses it.
#[derive(Clone)]
pub struct Cache {
    clients: Clients,
    service: ServiceName,
}

impl Cache {
    /// Starts an operation: `get`, `set` …
    pub fn operation<'a>(&'a self, operation: &'a str) -> Running<impl FnOnce(End) + 'a> {
        Running::start(self.clients.registry.stopwatch(), move |end| self.record(operation, end))
    }

    fn record(&self, operation: &str, end: End) {
        if let Names::Documents(m) = &self.clients.names {
            let operation = Operation::intern(operation);
            m.redis_operations_duration_seconds.at((self.service, operation)).observe_duration(end.took);
            if let Some(error) = end.error {
                m.redis_operation_errors_total.at((self.service, operation, error)).inc();
            }
        }
        self.clients.db_operation(System::Redis, "", operation, end);
    }

    /// Looks something up: `Ok(Some(_))` is a hit, `Ok(None)` a miss, an error neither.
    ///
    /// `kind` says what kind of thing it is, such as `price`; a whole key would make a series of each.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn lookup<T, E: crate::ErrorKind>(
        &self,
        kind: &str,
        work: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<T>, E> {
        let found = self.operation("get").run(work).await;
        if let Ok(found) = &found {
            self.found(kind, found.is_some());
        }
        found
    }

    /// Counts a lookup whose time is measured elsewhere.
    pub fn found(&self, kind: &str, hit: bool) {
        let lookups = self.clients.lookups();
        let labels = (self.service, CacheKey::intern(kind));
        if hit {
            lookups.redis_cache_hits_total.at(labels).inc();
        } else {
            lookups.redis_cache_misses_total.at(labels).inc();
        }
    }
}

/// A broker as one service uses it.
#[derive(Clone)]
pub struct Messaging {
    clients: Clients,
    service: ServiceName,
    broker: Broker,
    group: String,
}

impl Messaging {
    /// The same, consuming for this group.
    pub fn in_group(mut self, group: &str) -> Messaging {
        group.clone_into(&mut self.group);
        self
    }

    /// Starts to publish one message. It is published when it is `ok`: sent, or confirmed where the broker confirms.
    pub fn publish<'a>(&'a self, destination: &'a str) -> Running<impl FnOnce(End) + 'a> {
        Running::start(self.clients.registry.stopwatch(), move |end| self.published(destination, end))
    }

    /// Starts to process one message that was received.
    pub fn process<'a>(&'a self, destination: &'a str) -> Running<impl FnOnce(End) + 'a> {
        Running::start(self.clients.registry.stopwatch(), move |end| self.processed(destination, end))
    }

    /// Counts a message that was received; or, with the kind of error, a failure to receive.
    pub fn received(&self, destination: &str, error: Option<&str>) {
        match &self.clients.names {
            Names::Documents(m) => match (self.broker, error) {
                (Broker::Rabbitmq, None) => {
                    m.rabbitmq_messages_consumed_total.at((self.service, Queue::intern(destination))).inc();
                }
                (Broker::Rabbitmq, Some(error)) => {
                    let labels = (self.service, Queue::intern(destination), ErrorType::intern(error));
                    m.rabbitmq_consume_errors_total.at(labels).inc();
                }
                (Broker::Kafka, None) => {
                    m.kafka_messages_consumed_total.at(self.topic(destination)).inc();
                }
                (Broker::Kafka, Some(error)) => {
                    let (topic, group) = self.topic(destination);
                    m.kafka_consume_errors_total.at((topic, group, KafkaError::intern(error))).inc();
                }
            },
            Names::Conventions(m) => {
                let error = error.map(ErrorType::intern);
                let labels = self.labels(destination, MessagingOperation::Consume, error);
                m.messaging_client_consumed_messages_total.at(labels).inc();
            }
        }
    }

    fn published(&self, destination: &str, end: End) {
        match &self.clients.names {
            Names::Documents(m) => match self.broker {
                Broker::Rabbitmq => {
                    let queue = Queue::intern(destination);
                    m.rabbitmq_publish_duration_seconds.at((self.service, queue)).observe_duration(end.took);
                    match end.error {
                        None => m.rabbitmq_messages_published_total.at((self.service, queue)).inc(),
                        Some(error) => m.rabbitmq_publish_errors_total.at((self.service, queue, error)).inc(),
                    }
                }
                Broker::Kafka => {
                    let topic = Topic::intern(destination);
                    m.kafka_publish_duration_seconds.at((topic,)).observe_duration(end.took);
                    match end.error {
                        None => m.kafka_publish_success_total.at((topic,)).inc(),
                        Some(error) => {
                            let error = KafkaError::intern(error.as_str());
                            m.kafka_publish_failure_total.at((topic, error)).inc();
                        }
                    }
                }
            },
            Names::Conventions(m) => {
                let labels = || self.labels(destination, MessagingOperation::Publish, end.error);
                m.messaging_client_operation_duration_seconds.at(labels()).observe_duration(end.took);
                m.messaging_client_sent_messages_total.at(labels()).inc();
            }
        }
    }

    fn processed(&self, destination: &str, end: End) {
        match &self.clients.names {
            Names::Documents(m) => match self.broker {
                Broker::Rabbitmq => {
                    let labels = (self.service, Queue::intern(destination));
                    m.rabbitmq_message_processing_duration_seconds.at(labels).observe_duration(end.took);
                    if let Some(error) = end.error {
                        let labels = (labels.0, labels.1, error);
                        m.rabbitmq_message_processing_errors_total.at(labels).inc();
                    }
                }
                Broker::Kafka => {
                    let (topic, group) = self.topic(destination);
                    let durations = &m.kafka_message_processing_duration_seconds;
                    durations.at((topic, group)).observe_duration(end.took);
                    if let Some(error) = end.error {
                        let labels = (topic, group, KafkaError::intern(error.as_str()));
                        m.kafka_message_processing_errors_total.at(labels).inc();
                    }
                }
            },
            Names::Conventions(m) => {
                let labels = self.labels(destination, MessagingOperation::Process, end.error);
                m.messaging_process_duration_seconds.at(labels).observe_duration(end.took);
            }
        }
    }

    fn topic(&self, destination: &str) -> (Topic, Group) {
        let group = if self.group.is_empty() { "none" } else { &self.group };
        (Topic::intern(destination), Group::intern(group))
    }

    fn labels(
        &self,
        destination: &str,
        operation: MessagingOperation,
        error: Option<ErrorType>,
    ) -> MessageLabels {
        (self.broker, Destination::intern(destination), operation, Optional(error))
    }
}
