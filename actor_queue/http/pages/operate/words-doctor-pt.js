// The doctor's findings, and why attempts fail, in Portuguese. The service says them in English, as the command line does and
// as the documentation has them; what is not known here stays as it was said. `{1}` is what stood in
// that place, and `{~1}` is that in Portuguese, too.

const CHECKS = {
  ready: "pronto", redis: "Redis", version: "versão", eviction: "descarte de chaves", memory: "memória", persistence: "persistência", replication: "replicação",
  clock: "relógio", scripts: "scripts", latency: "latência", shards: "shards", users: "usuários", "dead letters": "cartas mortas", retries: "novas tentativas", holds: "pausas",
  webhook: "webhook", routes: "rotas", waiting: "em espera", "foreign entries": "entradas alheias", doctor: "exame", test: "teste",
};

const SAID = [
  [/^messages are accepted$/, "as mensagens são aceitas"],
  [/^messages are refused: (.+)$/, "as mensagens são recusadas: {1}"],
  [/^answers at (.+)$/, "responde em {1}"],
  [/^((?:Valkey|Redis) \S+)$/, "{1}"],
  [/^maxmemory-policy is noeviction$/, "maxmemory-policy é noeviction"],
  [/^maxmemory-policy is (\S+), so a full Redis .+$/, "maxmemory-policy é {1}: cheio, o Redis joga mensagens fora. Defina noeviction com `CONFIG SET maxmemory-policy noeviction` e na configuração do servidor"],
  [/^(\S+ MiB) in use, no limit set$/, "{1} em uso, sem limite definido"],
  [/^(\S+ MiB) in use of (\S+ MiB)$/, "{1} em uso, de {2}"],
  [/^(\S+ MiB) in use of (\S+ MiB): raise maxmemory, because .+ less than (\S+ MiB) is left$/, "{1} em uso, de {2}: aumente maxmemory, porque todo POST recebe 503 quando restam menos de {3}"],
  [/^(\S+ MiB) in use of (\S+ MiB), and AQ_REDIS_RESERVE keeps the last (\S+ MiB) .+$/, "{1} em uso, de {2}, e AQ_REDIS_RESERVE guarda os últimos {3} para o que foi aceito: todo POST recebe 503. Aumente maxmemory, ou veja o que está guardado"],
  [/^the append-only file is on$/, "o append-only file está ligado"],
  [/^the append-only file is off, so a restart of Redis loses messages.*$/, "o append-only file está desligado: se o Redis reiniciar, mensagens se perdem. Ligue com `CONFIG SET appendonly yes` e na configuração do servidor"],
  [/^([+-]\d+ ms) from this machine's$/, "{1} em relação ao desta máquina"],
  [/^the clock of Redis is (\S+ s) from this machine's.+$/, "o relógio do Redis está a {1} do desta máquina: use NTP nos dois; as janelas de silêncio estão certas mesmo assim, e os horários dos webhooks são os do Redis"],
  [/^scripts run$/, "os scripts rodam"],
  [/^scripts run, with all their rights$/, "os scripts rodam, com todos os direitos"],
  [/^a PING takes (\S+ ms), at most (\S+ ms)$/, "um PING leva {1}, no máximo {2}"],
  [/^a PING takes (\S+ ms), at most (\S+ ms): move Redis nearer.+$/, "um PING leva {1}, no máximo {2}: ponha o Redis mais perto, todo POST espera por ele"],
  [/^(\d+), as the namespace (\S+) was made$/, "{1}, como o namespace {2} foi criado"],
  [/^the namespace (\S+) has not been used yet$/, "o namespace {1} ainda não foi usado"],
  [/^([\d,]+) users? waits?, ([\d,]+) of them due within (\S+ s)(?:; .+)?$/, "em espera: {1}; {2} vencem em até {3}"],
  [/^there are none; (.+)$/, "nenhuma; {~1}"],
  [/^each is kept for ever \(AQ_DEAD_RETENTION\)$/, "cada uma fica guardada para sempre (AQ_DEAD_RETENTION)"],
  [/^each is kept for (\S+) days \(AQ_DEAD_RETENTION\)$/, "cada uma fica guardada por {1} dias (AQ_DEAD_RETENTION)"],
  [/^([\d,]+) dead letters?, the newest of (.+ UTC) after (\d+) attempts?: (.+); look with .+; (each is kept .+)$/, "{1} no total, a mais nova de {2} depois de {3} tentativas: {~4}; veja com `actor-queue dead list` e reenvie com `actor-queue dead replay --all`; {~5}"],
  [/^nobody waits for a retry$/, "ninguém espera nova tentativa"],
  [/^nobody waits for a retry among the first ([\d,]+) users$/, "ninguém espera nova tentativa entre os primeiros {1} usuários"],
  [/^([\d,]+) users? waits? for a retry(?: among the first [\d,]+ users)?; the oldest batch was closed (.+) ago and failed (\d+) times?: (.+)$/, "esperam nova tentativa: {1}; o lote mais antigo fechou há {2} e falhou {3} vezes: {~4}"],
  [/^nobody with messages is held$/, "ninguém com mensagens está em pausa"],
  [/^nobody with messages is held among the first ([\d,]+) users$/, "ninguém com mensagens está em pausa entre os primeiros {1} usuários"],
  [/^([\d,]+) users? with messages held(?: among the first [\d,]+ users)?, the longest for (.+) more; .+$/, "em pausa com mensagens: {1}, no máximo por mais {2}; `actor-queue release USER` termina uma pausa"],
  [/^(\S+) port (\d+) accepts connections$/, "{1}, porta {2}: aceita conexões"],
  [/^(\S+) port (\d+): Connection refused: check that the receiver runs$/, "{1}, porta {2}: conexão recusada. Veja se o destino está no ar"],
  [/^(\S+) port (\d+): (.+): check that the receiver runs$/, "{1}, porta {2}: {3}. Veja se o destino está no ar"],
  [/^(\S+) port (\d+) does not answer within (\S+ s): check the firewall$/, "{1}, porta {2}: não responde em {3}. Veja o firewall"],
  [/^the name (\S+) cannot be resolved: correct (.+)$/, "o nome {1} não se resolve: corrija {2}"],
  [/^the certificate of (\S+) is valid$/, "o certificado de {1} é válido"],
  [/^the certificate of (\S+) ends in (\d+) days: renew it$/, "o certificado de {1} vence em {2} dias: renove"],
  [/^(\S+) is on the internet and is spoken to without TLS.+$/, "{1} está na internet e se fala com ele sem TLS: quem estiver no caminho lê o que as pessoas escrevem. Use https:// em WEBHOOK_URL"],
  [/^WEBHOOK_URL is not set: .+$/, "WEBHOOK_URL não está definida: `serve` precisa dela; `dev` entrega então à própria caixa de entrada"],
  [/^webhooks are not signed: .+$/, "os webhooks não são assinados: defina WEBHOOK_SECRET para que o destino saiba que são seus; `actor-queue new-secret` cria um"],
  [/^webhooks of these routes are not signed: (.+); give each .+$/, "os webhooks destas rotas não são assinados: {1}; dê um segredo a cada uma, `actor-queue new-secret` cria"],
  [/^not all could be looked at within (\S+ s).+$/, "nem tudo pôde ser examinado em {1}: um servidor responde devagar"],
  // What an attempt said, and what to do about it.
  [/^(answered \d+): (.+)$/, "{~1}: {~2}"],
  [/^answered (\d+)$/, "respondeu {1}"],
  [/^answered (\d+) after (.+ ms)$/, "respondeu {1} em {2}"],
  [/^connection refused: .+$/, "conexão recusada: ninguém escuta ali. Ligue o destino ou corrija a porta; em um contêiner, localhost é o próprio contêiner"],
  [/^name not found: .+$/, "nome não encontrado: corrija o host em WEBHOOK_URL; em um contêiner, é o nome do serviço do destino em uma rede comum aos dois"],
  [/^timed out (.+?): .+$/, "tempo esgotado ({1}): faça o destino responder logo e trabalhar depois; quem demora mais que AQ_WEBHOOK_TIMEOUT é chamado outra vez"],
  [/^connection refused$/, "conexão recusada"],
  [/^connection timed out$/, "a conexão não se abriu a tempo"],
  [/^connection closed before an answer$/, "a conexão foi fechada antes de uma resposta"],
  [/^connection failed$/, "a conexão falhou"],
  [/^host unreachable$/, "não há caminho até o host"],
  [/^name not found$/, "nome não encontrado"],
  [/^name lookup failed$/, "o servidor de nomes não respondeu"],
  [/^address not allowed$/, "endereço não permitido"],
  [/^timed out after (\S+ s)$/, "tempo esgotado depois de {1}"],
  [/^TLS certificate not trusted$/, "certificado TLS não confiável"],
  [/^TLS failed$/, "o TLS falhou"],
  [/^the answer is not valid HTTP$/, "a resposta não é HTTP válido"],
  [/^the route is not configured$/, "a rota não está configurada"],
  [/^look at the receiver's log$/, "veja o log do destino"],
  [/^the receiver has nothing at this path: .+$/, "o destino não tem nada neste caminho: compare WEBHOOK_URL com o endereço do destino"],
  [/^the receiver takes no POST at this path: .+$/, "o destino não aceita POST neste caminho: mude o método dele para POST"],
  [/^the receiver is not available: .+$/, "o destino não está disponível: ligue-o, ou veja o proxy diante dele"],
  [/^the proxy in front of the receiver does not reach it: .+$/, "o proxy diante do destino não o alcança: ligue o destino"],
];

/** The finding's text in Portuguese; null for one that is not known here. */
export function inPortuguese(text) {
  for (const [said, means] of SAID) {
    const found = text.match(said);
    if (found !== null) return means.replace(/\{(~?)(\d)\}/g, (_, also, place) => (also ? (inPortuguese(found[place]) ?? found[place]) : found[place]));
  }
  return null;
}

/** What was looked at: the name of a check, with the route behind it where it is about one. */
export function checkInPortuguese(check) {
  const name = Object.keys(CHECKS).find((known) => check === known || check.startsWith(`${known} `));
  return name === undefined ? check : `${CHECKS[name]}${check.slice(name.length)}`;
}
