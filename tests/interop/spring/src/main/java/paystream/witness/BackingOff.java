package paystream.witness;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.util.backoff.BackOff;
import org.springframework.util.backoff.ExponentialBackOff;
import org.springframework.util.backoff.FixedBackOff;

/**
 * When Spring delivers a record that always fails.
 *
 * <p>A rule is {@code fixed:INTERVAL:RETRIES} or
 * {@code exponential:INITIAL:MULTIPLIER:MAX_INTERVAL:RETRIES:MAX_ELAPSED}, all times in milliseconds; {@code -}
 * leaves a limit as Spring has it. Each topic must hold {@link #RECORDS} records in one partition.
 */
final class BackingOff {

	static final int RECORDS = 3;

	private BackingOff() {
	}

	static void run(String servers, String[] arguments, int first) throws InterruptedException {
		int rules = arguments.length - first;
		CountDownLatch missing = new CountDownLatch(rules * RECORDS);
		List<ConcurrentMessageListenerContainer<?, ?>> containers = new ArrayList<>();
		for (int index = first; index < arguments.length; index++) {
			String[] parts = arguments[index].split("=");
			containers.add(start(servers, parts[0], parts[1], rule(parts[2].split(":")), missing));
		}
		Clients.await(missing, "records to be given up");
		containers.forEach(ConcurrentMessageListenerContainer::stop);
	}

	private static BackOff rule(String[] parts) {
		if (parts[0].equals("fixed")) {
			return new FixedBackOff(Long.parseLong(parts[1]), Long.parseLong(parts[2]));
		}
		var rule = new ExponentialBackOff(Long.parseLong(parts[1]), Double.parseDouble(parts[2]));
		rule.setMaxInterval(Long.parseLong(parts[3]));
		if (!parts[4].equals("-")) {
			rule.setMaxAttempts(Long.parseLong(parts[4]));
		}
		if (!parts[5].equals("-")) {
			rule.setMaxElapsedTime(Long.parseLong(parts[5]));
		}
		return rule;
	}

	private static ConcurrentMessageListenerContainer<?, ?> start(
			String servers, String name, String topic, BackOff rule, CountDownLatch missing) {
		var properties = new ContainerProperties(topic);
		properties.setGroupId("witness-" + name);
		properties.setMessageListener((MessageListener<byte[], byte[]>) record -> {
			// At once: only what lies between two deliveries is to be measured.
			long now = System.nanoTime();
			Witness.say(Map.of("rule", name, "offset", record.offset(), "milliseconds", now / 1e6));
			throw new IllegalStateException("never");
		});
		var container = new ConcurrentMessageListenerContainer<>(Clients.consumers(servers), properties);
		container.setBeanName(name);
		container.setCommonErrorHandler(new DefaultErrorHandler((record, error) -> missing.countDown(), rule));
		container.start();
		return container;
	}

}
