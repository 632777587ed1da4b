package paystream.witness;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.function.Consumer;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.IntegerDeserializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.kafka.listener.RetryListener;
import org.springframework.kafka.support.serializer.ErrorHandlingDeserializer;
import org.springframework.util.backoff.FixedBackOff;

/**
 * Every way of failing whose dead letter looks different.
 *
 * <p>Whoever starts this has made the topics, {@code spring.<scenario>} and where its letters go, and has written the
 * one record of each that is to fail, after some that are not.
 */
final class Writing {

	/** Text that marks the record on which the listeners fail. */
	private static final String BAD = "bad";

	private static final TopicNaming OLD_SUFFIX = topic -> topic + ".DLT";

	private interface TopicNaming {

		String of(String topic);

	}

	/** One listener and what it does; {@code null} where Spring's default is meant. */
	private record Step(
			String topic,
			String group,
			Class<? extends Deserializer<?>> key,
			Class<? extends Deserializer<?>> value,
			TopicNaming letters,
			Consumer<DeadLetterPublishingRecoverer> recovererTuning,
			Consumer<ContainerProperties> containerTuning,
			RuntimeException failure) {

		static Step of(String topic, RuntimeException failure) {
			return new Step(topic, "billing", ByteArrayDeserializer.class, ByteArrayDeserializer.class, null,
					recoverer -> { }, container -> { }, failure);
		}

		Step by(String otherGroup) {
			return new Step(topic, otherGroup, key, value, letters, recovererTuning, containerTuning, failure);
		}

		Step reading(Class<? extends Deserializer<?>> otherKey, Class<? extends Deserializer<?>> otherValue) {
			return new Step(topic, group, otherKey, otherValue, letters, recovererTuning, containerTuning, failure);
		}

		Step to(TopicNaming naming) {
			return new Step(topic, group, key, value, naming, recovererTuning, containerTuning, failure);
		}

		Step recovering(Consumer<DeadLetterPublishingRecoverer> tuning) {
			return new Step(topic, group, key, value, letters, tuning, containerTuning, failure);
		}

		Step contained(Consumer<ContainerProperties> tuning) {
			return new Step(topic, group, key, value, letters, recovererTuning, tuning, failure);
		}

	}

	private Writing() {
	}

	static void run(String servers) throws InterruptedException {
		List<Step> steps = steps();
		// Nothing of this ends before the letter of the retry topics is there, so it counts as one more.
		CountDownLatch missing = new CountDownLatch(steps.size() + 1);
		KafkaTemplate<byte[], byte[]> template = Clients.template(servers);
		List<ConcurrentMessageListenerContainer<?, ?>> containers = new ArrayList<>();
		for (Step step : steps) {
			containers.add(start(servers, step, template, missing));
		}
		try (var retrying = Retrying.start(servers, template, missing)) {
			Clients.await(missing, "dead letters to be written");
		}
		containers.forEach(ConcurrentMessageListenerContainer::stop);
		template.flush();
	}

	private static List<Step> steps() {
		RuntimeException boom = new IllegalStateException("boom");
		RuntimeException again = new UnsupportedOperationException("not here either");
		return List.of(
				Step.of("spring.default", boom),
				Step.of("spring.old-suffix", new IllegalStateException("boom", new ArithmeticException("/ by zero")))
						.to(OLD_SUFFIX),
				Step.of("spring.no-message", new IllegalStateException()),
				Step.of("spring.delivery-attempt", boom)
						.contained(container -> container.setDeliveryAttemptHeader(true)),
				Step.of("spring.twice", boom).to(OLD_SUFFIX),
				Step.of("spring.twice.DLT", again).by("repair"),
				Step.of("spring.twice-appending", boom).to(OLD_SUFFIX),
				Step.of("spring.twice-appending.DLT", again).by("repair")
						.recovering(recoverer -> recoverer.setStripPreviousExceptionHeaders(false)),
				Step.of("spring.unreadable-key", boom).reading(IntegerDeserializer.class, ByteArrayDeserializer.class),
				Step.of("spring.unreadable-value", boom).reading(ByteArrayDeserializer.class, IntegerDeserializer.class),
				Step.of("spring.unreadable-both", boom).reading(IntegerDeserializer.class, IntegerDeserializer.class),
				Step.of("spring.after-ours", boom));
	}

	private static ConcurrentMessageListenerContainer<?, ?> start(
			String servers, Step step, KafkaTemplate<byte[], byte[]> template, CountDownLatch missing) {
		var properties = new ContainerProperties(step.topic());
		properties.setGroupId(step.group());
		properties.setMessageListener((MessageListener<Object, Object>) record -> failIfBad(record, step.failure()));
		step.containerTuning().accept(properties);
		var container = new ConcurrentMessageListenerContainer<>(readers(servers, step), properties);
		container.setBeanName(step.topic());
		var handler = new DefaultErrorHandler(recoverer(step, template), new FixedBackOff(10, 2));
		handler.setRetryListeners(new Witnessing(step.topic(), missing));
		container.setCommonErrorHandler(handler);
		container.start();
		return container;
	}

	static void failIfBad(ConsumerRecord<?, ?> record, RuntimeException failure) {
		if (record.value() instanceof byte[] value && new String(value).contains(BAD)) {
			throw failure;
		}
	}

	private static DefaultKafkaConsumerFactory<Object, Object> readers(String servers, Step step) {
		Map<String, Object> properties = Clients.consumerProperties(servers);
		properties.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ErrorHandlingDeserializer.class);
		properties.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ErrorHandlingDeserializer.class);
		properties.put(ErrorHandlingDeserializer.KEY_DESERIALIZER_CLASS, step.key());
		properties.put(ErrorHandlingDeserializer.VALUE_DESERIALIZER_CLASS, step.value());
		return new DefaultKafkaConsumerFactory<>(properties);
	}

	private static DeadLetterPublishingRecoverer recoverer(Step step, KafkaTemplate<byte[], byte[]> template) {
		var recoverer = step.letters() == null
				? new DeadLetterPublishingRecoverer(template)
				: new DeadLetterPublishingRecoverer(template, (record, error) ->
						new TopicPartition(step.letters().of(record.topic()), record.partition()));
		step.recovererTuning().accept(recoverer);
		return recoverer;
	}

	/** Says what Spring says of itself, to be compared with what the letter says. */
	private record Witnessing(String topic, CountDownLatch missing) implements RetryListener {

		@Override
		public void failedDelivery(ConsumerRecord<?, ?> record, Exception error, int attempt) {
			Witness.say(Map.of("topic", topic, "offset", record.offset(), "attempt", attempt));
		}

		@Override
		public void recovered(ConsumerRecord<?, ?> record, Exception error) {
			Witness.say(Map.of("topic", topic, "offset", record.offset(), "recovered", error.getClass().getName()));
			missing.countDown();
		}

		@Override
		public void recoveryFailed(ConsumerRecord<?, ?> record, Exception original, Exception failure) {
			System.err.println(topic + ": no dead letter could be written: " + failure);
		}

	}

}
