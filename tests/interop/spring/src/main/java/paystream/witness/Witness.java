package paystream.witness;

import java.util.Map;

import org.apache.kafka.common.utils.AppInfoParser;
import org.springframework.core.SpringVersion;
import org.springframework.kafka.core.KafkaTemplate;

import tools.jackson.databind.json.JsonMapper;

/**
 * What a Spring Kafka application does with dead letters, told as one JSON object a line on standard output.
 *
 * <pre>
 * versions                        which Spring this is
 * write SERVERS                   fail in every way of {@link Writing}, and leave the dead letters in their topics
 * read SERVERS TOPIC COUNT        bind the headers of dead letters with {@code @Header}, as {@link Reading} does
 * back-off SERVERS NAME=TOPIC=RULE ...   fail for ever under each rule, and say when each delivery was
 * </pre>
 *
 * It ends when it has seen what it was asked for, or with status 1 when that takes too long. Log lines are on
 * standard error.
 */
public final class Witness {

	private static final JsonMapper JSON = new JsonMapper();

	private Witness() {
	}

	public static void main(String[] arguments) throws Exception {
		if (arguments.length == 0) {
			throw new IllegalArgumentException("name a command: versions, write, read or back-off");
		}
		switch (arguments[0]) {
			case "versions" -> say(versions());
			case "write" -> Writing.run(arguments[1]);
			case "read" -> Reading.run(arguments[1], arguments[2], Integer.parseInt(arguments[3]));
			case "back-off" -> BackingOff.run(arguments[1], arguments, 2);
			default -> throw new IllegalArgumentException("there is no command " + arguments[0]);
		}
		// Some of the clients' threads are no daemons, and there is nothing left to be tidy about.
		System.exit(0);
	}

	private static Map<String, Object> versions() {
		return Map.of(
				"spring-kafka", KafkaTemplate.class.getPackage().getImplementationVersion(),
				"spring-framework", String.valueOf(SpringVersion.getVersion()),
				"kafka-clients", AppInfoParser.getVersion(),
				"java", Runtime.version().feature());
	}

	/** Print one line; listeners call this from threads of their own. */
	static synchronized void say(Map<String, ?> facts) {
		System.out.println(JSON.writeValueAsString(facts));
		System.out.flush();
	}

}
