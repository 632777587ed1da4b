package paystream.witness;

import java.util.Map;
import java.util.concurrent.CountDownLatch;

import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.BackOff;
import org.springframework.kafka.annotation.DltHandler;
import org.springframework.kafka.annotation.EnableKafkaRetryTopic;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.scheduling.TaskScheduler;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/** A listener with retry topics, which Spring creates: {@code spring.retryable-retry} and {@code spring.retryable-dlt}. */
final class Retrying {

	private static String servers;

	private static KafkaTemplate<byte[], byte[]> template;

	private static CountDownLatch missing;

	private Retrying() {
	}

	static AnnotationConfigApplicationContext start(
			String bootstrapServers, KafkaTemplate<byte[], byte[]> bytes, CountDownLatch latch) {
		servers = bootstrapServers;
		template = bytes;
		missing = latch;
		return new AnnotationConfigApplicationContext(Setup.class);
	}

	@Configuration
	@EnableKafkaRetryTopic
	static class Setup {

		@Bean
		ConcurrentKafkaListenerContainerFactory<byte[], byte[]> kafkaListenerContainerFactory() {
			var factory = new ConcurrentKafkaListenerContainerFactory<byte[], byte[]>();
			factory.setConsumerFactory(Clients.consumers(servers));
			return factory;
		}

		@Bean
		KafkaTemplate<byte[], byte[]> template() {
			return template;
		}

		@Bean
		KafkaAdmin admin() {
			return new KafkaAdmin(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, servers));
		}

		@Bean
		TaskScheduler scheduler() {
			return new ThreadPoolTaskScheduler();
		}

		@Bean
		Listener listener() {
			return new Listener();
		}

	}

	static class Listener {

		@RetryableTopic(attempts = "3", backOff = @BackOff(delay = 50), kafkaTemplate = "template")
		@KafkaListener(topics = "spring.retryable", groupId = "billing")
		void listen(ConsumerRecord<byte[], byte[]> record) {
			Witness.say(Map.of("topic", "spring.retryable", "seen", record.topic()));
			Writing.failIfBad(record, new IllegalStateException("boom"));
		}

		@DltHandler
		void letter(ConsumerRecord<byte[], byte[]> record) {
			Witness.say(Map.of("topic", "spring.retryable", "seen", record.topic()));
			missing.countDown();
		}

	}

}
