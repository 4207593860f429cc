//! Brokers: a real RabbitMQ, and Kafka's protocol by krafka's own broker and by one that is not there.

use std::time::Duration;

use expect_test::expect;
use krafka::Record;
use krafka::testing::{ApiKey, Control, FakeBroker};
use lapin::options::{BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tradewatch_instrument::rabbitmq::{Consumer, Publisher};
use tradewatch_instrument::{Broker, Clients, Vocabulary, kafka};
use tradewatch_metrics::Registry;

use crate::servers;
use crate::world::moved_with_prefix;

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

async fn channel(port: u16, queue: &str) -> Channel {
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("it listens");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel.basic_qos(1, BasicQosOptions::default()).await.expect("one at a time");
    let declare = QueueDeclareOptions::default();
    channel.queue_declare(queue.into(), declare, FieldTable::default()).await.expect("a queue");
    channel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq() {
    let mut server = tokio::task::spawn_blocking(servers::rabbitmq).await.expect("it starts");
    for vocabulary in [Vocabulary::Prometheus, Vocabulary::OpenTelemetry] {
        let registry = Registry::new();
        let clients = Clients::register(&registry, vocabulary).expect("the names are free");
        let messaging = clients.broker("order_executor", Broker::Rabbitmq);
        let channel = channel(server.port, "order_requests").await;
        let publisher = Publisher::new(channel.clone(), messaging.clone(), MINUTE);
        let publish = async |queue| publisher.publish("", queue, b"buy", BasicProperties::default()).await;
        for _ in 0..5 {
            publish("order_requests").await.expect("taken");
        }
        let unroutable = publish("no_such_queue").await.expect_err("no queue takes it");
        assert!(unroutable.to_string().contains("no queue"), "{unroutable}");
        let hasty = Publisher::new(channel.clone(), messaging.clone(), SHORT);
        server.pause();
        let late = hasty.publish("", "order_requests", b"buy", BasicProperties::default()).await;
        assert!(late.expect_err("the broker stands still").is_timeout());
        let given_up = publish("order_requests");
        assert!(tokio::time::timeout(SHORT, given_up).await.is_err());
        server.resume();
        let inner = channel
            .basic_consume(
                "order_requests".into(),
                "c".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("a consumer");
        let mut consumer = Consumer::new(inner, messaging.clone(), SHORT * 4);
        let done = consumer.process(async |delivery| Ok::<_, String>(delivery.data.clone())).await;
        assert_eq!(done.expect("received").expect("processed"), b"buy");
        let failed = consumer.process(async |_| Err::<(), _>("no margin")).await.expect("received");
        failed.expect_err("it fails");
        let again = consumer.process(async |delivery| Ok::<_, String>(delivery.redelivered)).await;
        assert!(again.expect("received").expect("processed"), "a failed message is delivered once more");
        let late = consumer.process(async |_| std::future::pending::<Result<(), String>>().await).await;
        assert!(late.expect("received").expect_err("too slow").is_timeout());
        let again = consumer.process(async |delivery| Ok::<_, String>(delivery.redelivered)).await;
        assert!(again.expect("received").expect("processed"));
        let given_up = consumer.process(async |_| std::future::pending::<Result<(), String>>().await);
        assert!(tokio::time::timeout(SHORT, given_up).await.is_err());
        if vocabulary == Vocabulary::OpenTelemetry {
            tokio::task::block_in_place(|| server.kill());
            consumer.process(async |_| Ok::<_, String>(())).await.expect_err("it is gone");
            publish("order_requests").await.expect_err("it is gone");
        } else {
            channel.queue_delete("order_requests".into(), Default::default()).await.expect("deleted");
        }
        let expected = match vocabulary {
            Vocabulary::Prometheus => expect![[r#"
                rabbitmq_message_processing_duration_seconds_count{service_name="order_executor",queue="order_requests"} 6
                rabbitmq_message_processing_errors_total{service_name="order_executor",queue="order_requests",error_type="cancelled"} 1
                rabbitmq_message_processing_errors_total{service_name="order_executor",queue="order_requests",error_type="error"} 1
                rabbitmq_message_processing_errors_total{service_name="order_executor",queue="order_requests",error_type="timeout"} 1
                rabbitmq_messages_consumed_total{service_name="order_executor",queue="order_requests"} 6
                rabbitmq_messages_published_total{service_name="order_executor",queue="order_requests"} 5
                rabbitmq_publish_duration_seconds_count{service_name="order_executor",queue="no_such_queue"} 1
                rabbitmq_publish_duration_seconds_count{service_name="order_executor",queue="order_requests"} 7
                rabbitmq_publish_errors_total{service_name="order_executor",queue="no_such_queue",error_type="unroutable"} 1
                rabbitmq_publish_errors_total{service_name="order_executor",queue="order_requests",error_type="cancelled"} 1
                rabbitmq_publish_errors_total{service_name="order_executor",queue="order_requests",error_type="timeout"} 1
            "#]],
            Vocabulary::OpenTelemetry => expect![[r#"
                messaging_client_consumed_messages_total{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="consume",error_type="connection"} 1
                messaging_client_consumed_messages_total{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="consume"} 6
                messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="no_such_queue",messaging_operation_name="publish",error_type="unroutable"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish",error_type="cancelled"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish",error_type="channel"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish"} 5
                messaging_client_sent_messages_total{messaging_system="rabbitmq",messaging_destination_name="no_such_queue",messaging_operation_name="publish",error_type="unroutable"} 1
                messaging_client_sent_messages_total{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish",error_type="cancelled"} 1
                messaging_client_sent_messages_total{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish",error_type="channel"} 1
                messaging_client_sent_messages_total{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_sent_messages_total{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="publish"} 5
                messaging_process_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="process",error_type="cancelled"} 1
                messaging_process_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="process",error_type="error"} 1
                messaging_process_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="process",error_type="timeout"} 1
                messaging_process_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="order_requests",messaging_operation_name="process"} 3
            "#]],
        };
        let text = moved_with_prefix(&registry, "rabbitmq_") + &moved_with_prefix(&registry, "messaging_");
        expected.assert_eq(&text);
    }
}

#[tokio::test]
async fn kafka() {
    let broker = FakeBroker::start().await.expect("it starts");
    broker.create_topic("trading-signals", 1);
    for vocabulary in [Vocabulary::Prometheus, Vocabulary::OpenTelemetry] {
        let registry = Registry::new();
        let clients = Clients::register(&registry, vocabulary).expect("the names are free");
        let messaging = clients.broker("signal_generator", Broker::Kafka).in_group("trigger-dispatcher");
        let client = krafka::Kafka::builder(broker.bootstrap_servers()).connect().await.expect("it listens");
        let inner = client.producer().build().await.expect("a producer");
        let producer = kafka::Producer::new(inner, messaging.clone(), MINUTE);
        let _ = producer.send(Record::new("trading-signals", "buy")).await.expect("acknowledged");
        broker.on_once(ApiKey::Produce, |_| Control::Error(krafka::error::ErrorCode::MessageTooLarge));
        producer.send(Record::new("trading-signals", "too much")).await.expect_err("refused");
        let client = krafka::Kafka::builder(broker.bootstrap_servers()).connect().await.expect("it listens");
        let inner = client.producer().build().await.expect("a producer");
        let hasty = kafka::Producer::new(inner, messaging.clone(), SHORT);
        broker.on_once(ApiKey::Produce, |_| Control::Silence);
        let late = hasty.send(Record::new("trading-signals", "late")).await.expect_err("no answer");
        assert!(late.is_timeout(), "{late}");
        broker.on_once(ApiKey::Produce, |_| Control::Silence);
        let given_up = producer.send(Record::new("trading-signals", "given up"));
        assert!(tokio::time::timeout(SHORT, given_up).await.is_err());

        // A connection on which an answer is awaited would make the consumer wait, too.
        let client = krafka::Kafka::builder(broker.bootstrap_servers()).connect().await.expect("it listens");
        let inner = client.consumer("trigger-dispatcher");
        let inner = inner.auto_offset_reset(krafka::consumer::AutoOffsetReset::Earliest);
        let inner = inner.build().await.expect("a consumer");
        inner.subscribe(["trading-signals"]).await.expect("subscribed");
        let consumer = kafka::Consumer::new(inner, messaging, MINUTE);
        let value = async |record: &krafka::consumer::ConsumerRecord| Ok::<_, String>(record.value.clone());
        let record = consumer.process(value).await.expect("received").expect("open").expect("processed");
        assert_eq!(record.as_deref(), Some(&b"buy"[..]));
        consumer.inner().close().await.expect("closed");
        let expected = match vocabulary {
            Vocabulary::Prometheus => expect![[r#"
                kafka_message_processing_duration_seconds_count{topic="trading-signals",consumer_group="trigger-dispatcher"} 1
                kafka_messages_consumed_total{topic="trading-signals",consumer_group="trigger-dispatcher"} 1
                kafka_publish_duration_seconds_count{topic="trading-signals"} 4
                kafka_publish_failure_total{topic="trading-signals",error="cancelled"} 1
                kafka_publish_failure_total{topic="trading-signals",error="server"} 1
                kafka_publish_failure_total{topic="trading-signals",error="timeout"} 1
                kafka_publish_success_total{topic="trading-signals"} 1
            "#]],
            Vocabulary::OpenTelemetry => expect![[r#"
                messaging_client_consumed_messages_total{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="consume"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish",error_type="cancelled"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish",error_type="server"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish"} 1
                messaging_client_sent_messages_total{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish",error_type="cancelled"} 1
                messaging_client_sent_messages_total{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish",error_type="server"} 1
                messaging_client_sent_messages_total{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_sent_messages_total{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="publish"} 1
                messaging_process_duration_seconds_count{messaging_system="kafka",messaging_destination_name="trading-signals",messaging_operation_name="process"} 1
            "#]],
        };
        let text = moved_with_prefix(&registry, "kafka_") + &moved_with_prefix(&registry, "messaging_");
        expected.assert_eq(&text);
    }
}

#[tokio::test]
async fn kafka_that_is_not_there() {
    let registry = Registry::new();
    let clients = Clients::register(&registry, Vocabulary::Prometheus).expect("the names are free");
    let messaging = clients.broker("signal_generator", Broker::Kafka);
    let mut broker = Some(FakeBroker::start().await.expect("it starts"));
    broker.as_ref().expect("started").create_topic("trading-signals", 1);
    let addr = broker.as_ref().expect("started").bootstrap_servers();
    let client = krafka::Kafka::builder(addr)
        .connect_timeout(SHORT * 4)
        .request_timeout(SHORT * 4)
        .connect()
        .await
        .expect("it listens");
    let inner = client.producer().delivery_timeout(SHORT * 10).build().await.expect("a producer");
    let producer = kafka::Producer::new(inner, messaging, MINUTE);
    drop(broker.take());
    producer.send(Record::new("trading-signals", "x")).await.expect_err("nobody listens");
    let text = moved_with_prefix(&registry, "kafka_publish");
    assert!(text.contains("kafka_publish_duration_seconds_count{topic=\"trading-signals\"} 1"), "{text}");
    assert!(text.contains("kafka_publish_failure_total{topic=\"trading-signals\",error="), "{text}");
}
