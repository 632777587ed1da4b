package paystream.witness;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.kafka.core.ConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;

/** The clients that all commands use: bytes in, bytes out. */
final class Clients {

	/** Longer than a busy machine takes, shorter than the patience of whoever started this. */
	private static final Duration PATIENCE = Duration.ofSeconds(40);

	private Clients() {
	}

	static Map<String, Object> consumerProperties(String servers) {
		Map<String, Object> properties = new HashMap<>();
		properties.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
		properties.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
		properties.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
		properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
		properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
		// Our dead letters are written in transactions.
		properties.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
		// A retry seeks back, while a fetch of what comes next may be waiting at the broker: half a second by
		// default, which would hide the back-off that is to be observed.
		properties.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, 10);
		return properties;
	}

	static ConsumerFactory<byte[], byte[]> consumers(String servers) {
		return new DefaultKafkaConsumerFactory<>(consumerProperties(servers));
	}

	static KafkaTemplate<byte[], byte[]> template(String servers) {
		return new KafkaTemplate<>(new DefaultKafkaProducerFactory<>(Map.of(
				ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, servers,
				ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class,
				ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class)));
	}

	/** Wait for what must happen; if it does not, end with status 1. */
	static void await(CountDownLatch latch, String what) throws InterruptedException {
		if (!latch.await(PATIENCE.toSeconds(), TimeUnit.SECONDS)) {
			System.err.println("waited in vain for " + what + ": " + latch.getCount() + " are missing");
			System.exit(1);
		}
	}

}
