import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.Scanner;
import javax.security.sasl.Sasl;
import javax.security.sasl.SaslClient;

/** A SASL client of Java's own: tokens in base64, a line each, on standard input and output. */
class SaslPeer {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> wanted = new HashMap<>();
        wanted.put(Sasl.QOP, arguments[1]);
        wanted.put(Sasl.SERVER_AUTH, "true");
        SaslClient client = Sasl.createSaslClient(
            new String[] {"GSSAPI"}, null, "host", arguments[0], wanted, null);
        Scanner input = new Scanner(System.in);
        byte[] token = client.evaluateChallenge(new byte[0]);
        while (true) {
            System.out.println("token: " + Base64.getEncoder().encodeToString(token == null ? new byte[0] : token));
            if (client.isComplete()) {
                break;
            }
            token = client.evaluateChallenge(Base64.getDecoder().decode(input.nextLine()));
        }
        System.out.println("layer: " + client.getNegotiatedProperty(Sasl.QOP));
    }
}
