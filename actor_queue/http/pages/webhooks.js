// The webhooks of the chat platforms, made as each platform makes them: one function a platform.
// Nothing here reads a clock, the page or the network. Every phone, key and name is invented.

const OWN_PHONE = "5511900000099";
const INSTANCE = "loja";
const SESSION = "default";
const PHONE_NUMBER_ID = "200000000000001";
const ACCOUNT = 1;
const FILE = { mime: "image/jpeg", bytes: 48_213, name: "foto.jpg" };

/**
 * What each platform tells, what the queue calls its conversations and messages (docs/doors.md), and
 * how it writes an event. `person` is of `personOf`, `id` of `id(number)`; `original` is the id of
 * the message that is edited or taken back.
 */
export const PLATFORMS = {
  evolution: {
    label: "Evolution API",
    events: ["text", "image", "typing", "own", "edit", "revoke"],
    id: (number) => `3EB0${hex(number)}`,
    user: (person) => `${INSTANCE}:${person.phone}@s.whatsapp.net`,
    messageId: (_, id) => `${INSTANCE}:${id}`,
    write: evolution,
  },
  waha: {
    label: "WAHA",
    events: ["text", "image", "typing", "own", "edit", "revoke"],
    id: (number) => `3EB0${hex(number)}`,
    user: (person) => `${SESSION}:${person.phone}@c.us`,
    messageId: (person, id) => `${SESSION}:false_${person.phone}@c.us_${id}`,
    write: waha,
  },
  cloud: {
    label: "WhatsApp Cloud API",
    events: ["text", "image", "own", "edit", "revoke"],
    id: (number) => `wamid.${hex(number)}`,
    user: (person) => `${PHONE_NUMBER_ID}:${person.phone}`,
    messageId: (_, id) => `${PHONE_NUMBER_ID}:${id}`,
    write: cloud,
  },
  chatwoot: {
    label: "Chatwoot",
    events: ["text", "image", "typing", "own", "edit", "revoke"],
    id: (number) => number,
    user: (person) => `${ACCOUNT}:${person.number}`,
    messageId: (_, id) => `${ACCOUNT}:${id}`,
    write: chatwoot,
  },
  telegram: {
    label: "Telegram",
    events: ["text", "image", "edit"],
    id: (number) => number % 1_000_000_000,
    user: (person) => `telegram:${person.number}`,
    messageId: (person, id) => `telegram:${person.number}:${id}`,
    write: telegram,
  },
};

/** Somebody with a number and a phone, which are the same ones for the same name. */
export function personOf(name) {
  const number = 10_000_000 + (hash(name) % 90_000_000);
  const digits = /^\+\d{8,15}$/.test(name) ? name.slice(1) : `55119${number}`;
  return { name, number, phone: digits };
}

/** FNV-1a, 32 bits. */
function hash(text) {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  return state;
}

const hex = (number) => number.toString(16).toUpperCase().padStart(16, "0");
const seconds = (ms) => Math.floor(ms / 1000);

// Evolution API

function evolution({ event, person, text, id, original, sentMs }) {
  const jid = `${person.phone}@s.whatsapp.net`;
  const key = (fromMe, keyId) => ({ remoteJid: jid, fromMe, id: keyId });
  const around = (name, data) => ({
    event: name,
    instance: INSTANCE,
    data,
    destination: "https://queue.example/in/evolution",
    date_time: new Date(sentMs).toISOString(),
    sender: `${OWN_PHONE}@s.whatsapp.net`,
    server_url: "https://evolution.example",
    apikey: "KEY-OF-THE-INSTANCE",
  });
  const message = (fromMe, messageType, content) =>
    around("messages.upsert", {
      key: key(fromMe, id),
      pushName: fromMe ? "Você" : person.name,
      status: "DELIVERY_ACK",
      message: content,
      messageType,
      messageTimestamp: seconds(sentMs),
      source: "android",
    });
  const picture = () => ({
    imageMessage: { mimetype: FILE.mime, fileLength: { low: FILE.bytes, high: 0, unsigned: true }, ...(text && { caption: text }) },
    mediaUrl: `https://files.example/${INSTANCE}/${FILE.name}`,
  });
  switch (event) {
    case "text": return message(false, "conversation", { conversation: text });
    case "image": return message(false, "imageMessage", picture());
    case "own": return message(true, "conversation", { conversation: text });
    case "typing": return around("presence.update", { id: jid, presences: { [jid]: { lastKnownPresence: "composing" } } });
    case "edit":
      return around("messages.edited", { key: key(false, original), type: 14, editedMessage: { conversation: text }, timestampMs: String(sentMs) });
    default: return around("messages.delete", { ...key(false, original), status: "DELETED" });
  }
}

// WAHA

function waha({ event, person, text, id, original, sentMs }) {
  const chat = `${person.phone}@c.us`;
  const own = `${OWN_PHONE}@c.us`;
  const around = (name, payload) => ({
    id: `evt_${hex(sentMs).toLowerCase()}`,
    timestamp: sentMs,
    event: name,
    session: SESSION,
    metadata: {},
    me: { id: own, pushName: "Loja" },
    payload,
    engine: "NOWEB",
    environment: { version: "2025.11.1", engine: "NOWEB", tier: "PLUS" },
  });
  const message = (fromMe, body) => ({
    id: `${fromMe}_${chat}_${id}`,
    timestamp: seconds(sentMs),
    from: fromMe ? own : chat,
    fromMe,
    source: "app",
    to: fromMe ? chat : own,
    body,
    hasMedia: false,
    ack: 1,
    _data: { pushName: fromMe ? "Loja" : person.name },
  });
  const media = { url: `https://waha.example/api/files/${SESSION}/${FILE.name}`, mimetype: FILE.mime, filename: null, error: null };
  switch (event) {
    case "text": return around("message.any", message(false, text));
    case "image": return around("message.any", { ...message(false, text), hasMedia: true, media });
    case "own": return around("message.any", message(true, text));
    case "typing": return around("presence.update", { id: chat, presences: [{ participant: chat, lastKnownPresence: "typing" }] });
    case "edit": return around("message.edited", { ...message(false, text), editedMessageId: original });
    default: return around("message.revoked", { before: null, after: message(false, ""), revokedMessageId: original });
  }
}

// WhatsApp Cloud API

function cloud({ event, person, text, id, original, sentMs }) {
  const around = (field, parts) => ({
    object: "whatsapp_business_account",
    entry: [
      {
        id: "100000000000001",
        changes: [
          {
            value: { messaging_product: "whatsapp", metadata: { display_phone_number: OWN_PHONE, phone_number_id: PHONE_NUMBER_ID }, ...parts },
            field,
          },
        ],
      },
    ],
  });
  const message = (type, content) =>
    around("messages", {
      contacts: [{ profile: { name: person.name }, wa_id: person.phone }],
      messages: [{ from: person.phone, id, timestamp: String(seconds(sentMs)), type, [type]: content }],
    });
  const echo = { from: OWN_PHONE, to: person.phone, id, timestamp: String(seconds(sentMs)), type: "text", text: { body: text } };
  switch (event) {
    case "text": return message("text", { body: text });
    case "image": return message("image", { ...(text && { caption: text }), mime_type: FILE.mime, sha256: "c2hhMjU2", id: "300000000000002" });
    case "own": return around("smb_message_echoes", { message_echoes: [echo] });
    case "edit": return message("edit", { original_message_id: original, message: { type: "text", text: { body: text } } });
    default: return message("revoke", { original_message_id: original });
  }
}

// Chatwoot

function chatwoot({ event, person, text, id, original, sentMs }) {
  const account = { id: ACCOUNT, name: "Loja" };
  const contact = { id: person.number, name: person.name, email: null, phone_number: `+${person.phone}`, identifier: null, type: "contact" };
  const agent = { id: 9, name: "Bia", email: "bia@loja.example", type: "user" };
  const conversation = {
    id: person.number,
    inbox_id: 3,
    status: "pending",
    channel: "Channel::WebWidget",
    can_reply: true,
    contact_inbox: { id: 5, source_id: `web-${person.number}`, inbox_id: 3 },
    messages: [],
    meta: { sender: { id: contact.id, name: contact.name, type: "contact" }, assignee: null },
    unread_count: 1,
  };
  const message = (name, messageId, content, attributes = {}, sender = contact) => ({
    event: name,
    id: messageId,
    content,
    content_type: "text",
    content_attributes: attributes,
    created_at: new Date(sentMs).toISOString(),
    message_type: sender === agent ? "outgoing" : "incoming",
    private: false,
    source_id: null,
    account,
    inbox: { id: 3, name: "Site" },
    sender,
    conversation,
  });
  const file = { id, message_id: id, file_type: "image", account_id: ACCOUNT, data_url: `https://chat.example/files/${FILE.name}`, file_size: FILE.bytes };
  switch (event) {
    case "text": return message("message_created", id, text);
    case "image": return { ...message("message_created", id, text || null), attachments: [file] };
    case "own": return message("message_created", id, text, {}, agent);
    case "typing":
      return { event: "conversation_typing_on", user: { id: contact.id, name: contact.name, type: "contact", account }, conversation, is_private: false };
    case "edit": return message("message_updated", original, text);
    default: return message("message_updated", original, "This message was deleted", { deleted: true });
  }
}

// Telegram

function telegram({ event, person, text, id, original, sentMs }) {
  const named = { id: person.number, first_name: person.name };
  const message = (messageId, content) => ({
    message_id: messageId,
    from: { ...named, is_bot: false, language_code: "pt-br" },
    chat: { ...named, type: "private" },
    date: seconds(sentMs),
    ...content,
  });
  const sizes = [
    { file_id: "SMALL", file_size: 1_200, width: 90, height: 68 },
    { file_id: "LARGE", file_size: FILE.bytes, width: 1_280, height: 960 },
  ];
  switch (event) {
    case "text": return { update_id: id, message: message(id, { text }) };
    case "image": return { update_id: id, message: message(id, { photo: sizes, ...(text && { caption: text }) }) };
    default: return { update_id: id, edited_message: message(original, { text, edit_date: seconds(sentMs) }) };
  }
}
