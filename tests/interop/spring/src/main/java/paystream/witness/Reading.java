package paystream.witness;

import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.handler.annotation.Header;

/**
 * A listener as a Spring user writes one who wants to know about dead letters: the headers are parameters, of the
 * types that Spring Kafka's documentation gives them.
 */
final class Reading {

	private static String servers;

	private static CountDownLatch missing;

	private Reading() {
	}

	static void run(String bootstrapServers, String topic, int count) throws InterruptedException {
		servers = bootstrapServers;
		missing = new CountDownLatch(count);
		System.setProperty("witness.topic", topic);
		try (var context = new AnnotationConfigApplicationContext(Setup.class)) {
			Clients.await(missing, "dead letters in " + topic);
		}
	}

	@Configuration
	@EnableKafka
	static class Setup {

		@Bean
		ConcurrentKafkaListenerContainerFactory<byte[], byte[]> kafkaListenerContainerFactory() {
			var factory = new ConcurrentKafkaListenerContainerFactory<byte[], byte[]>();
			factory.setConsumerFactory(Clients.consumers(servers));
			return factory;
		}

		@Bean
		Listener listener() {
			return new Listener();
		}

	}

	static class Listener {

		@KafkaListener(topics = "${witness.topic}", groupId = "witness-reads")
		void read(byte[] value,
				@Header(KafkaHeaders.RECEIVED_KEY) byte[] key,
				@Header(KafkaHeaders.RECEIVED_PARTITION) int partition,
				@Header(KafkaHeaders.DLT_EXCEPTION_FQCN) String exception,
				@Header(KafkaHeaders.DLT_EXCEPTION_CAUSE_FQCN) String cause,
				@Header(KafkaHeaders.DLT_EXCEPTION_MESSAGE) String message,
				@Header(KafkaHeaders.DLT_EXCEPTION_STACKTRACE) String trace,
				@Header(KafkaHeaders.DLT_ORIGINAL_TOPIC) String originalTopic,
				@Header(KafkaHeaders.DLT_ORIGINAL_PARTITION) int originalPartition,
				@Header(KafkaHeaders.DLT_ORIGINAL_OFFSET) long originalOffset,
				@Header(KafkaHeaders.DLT_ORIGINAL_TIMESTAMP) long originalTimestamp,
				@Header(KafkaHeaders.DLT_ORIGINAL_TIMESTAMP_TYPE) String originalTimestampType,
				@Header(KafkaHeaders.DLT_ORIGINAL_CONSUMER_GROUP) String originalGroup,
				@Header("x-error-stage") String stage,
				@Header("x-disposition") String disposition,
				@Header("x-attempts") String attempts,
				@Header("x-error-reason") String reason) {
			Map<String, Object> bound = new LinkedHashMap<>();
			bound.put("key", HexFormat.of().formatHex(key));
			bound.put("value", HexFormat.of().formatHex(value));
			bound.put("partition", partition);
			bound.put("exception", exception);
			bound.put("cause", cause);
			bound.put("message", message);
			bound.put("trace", trace);
			bound.put("originalTopic", originalTopic);
			bound.put("originalPartition", originalPartition);
			bound.put("originalOffset", originalOffset);
			bound.put("originalTimestamp", originalTimestamp);
			bound.put("originalTimestampType", originalTimestampType);
			bound.put("originalGroup", originalGroup);
			bound.put("stage", stage);
			bound.put("disposition", disposition);
			bound.put("attempts", attempts);
			bound.put("reason", reason);
			Witness.say(bound);
			missing.countDown();
		}

	}

}
